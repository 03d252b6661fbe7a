// The disk tier: pages in files of a folder, one file a layer group (disk_format.h), found again after a
// restart.
//
// One owner: a lock on <folder>/lock; a second process does without. Files have mode 0600. Nothing is
// ever forced to the disk: what a crash tears fails its checksum, and is a miss. So is what was deleted, cut,
// replaced or damaged under our feet. After a failed write nothing is written for a second, which doubles up
// to a minute while writes go on failing.
//
// Capacity: all page files of the folder together take no more of the disk, headers included. Files of other
// models or layouts count, and those that were not opened for the longest time are deleted when ours need
// their space. Files have holes: their size may be above what they take. Where the file system has no holes,
// the space before a used slot counts as used.
//
// Threads: as TierStore.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "cache/disk_file.h"
#include "cache/tier_store.h"

namespace kvi {

struct DiskStoreOptions {
  std::string folder;
  uint64_t capacity_bytes = 0;
  Digest identity = {};  // of model, layout and numerics: whose pages can be used for which
  std::vector<TierGroup> groups;
  IdentityParts parts = {};  // stand in the files, for engines of other identities
};

class DiskStore final : public TierStore {
 public:
  // Throws BUSY when another owner has the folder, INVALID_ARGUMENT when the capacity is less than one page
  // of each group (with both amounts) or when there is something else where a file or the folder should be, IO
  // when the folder cannot be used. Whatever else fails is in stats, and is tried again.
  static std::unique_ptr<DiskStore> open(DiskStoreOptions options,
                                         std::shared_ptr<FileSystem> files,
                                         std::shared_ptr<Clock> clock);

  // What the files hold, from the headers of their slots alone (one small read each). Before this nothing is
  // read or written. The record's tokens live as long as the call. The pages themselves are checked when they
  // are read.
  void scan(const Visitor& visitor) override;

  int num_slots(int group) const override;
  bool write(SlotId slot, const PageRecord& record,
             std::span<const std::byte> page) noexcept override;
  bool read(SlotId slot, const PageRecord& expected, std::span<std::byte> page) noexcept override;
  void discard(int group, SlotId slot) noexcept override;
  void end() noexcept override;
  TierStats stats() const override;

  static constexpr std::string_view kSuffix = ".kvpages";  // of all page files
  static std::string file_name(const Digest& identity, int group);

 private:
  DiskStore(DiskStoreOptions options, std::shared_ptr<FileSystem> files,
            std::shared_ptr<Clock> clock);

  enum class Outcome : uint8_t { done, refused, failed };

  struct ForeignFile {
    std::string path;
    uint64_t num_bytes;  // on the disk
    int64_t modified_us;
  };

  DiskFile* find(int group, SlotId slot, const PageRecord* record, size_t num_bytes);
  Outcome keep(SlotId slot, const PageRecord& record, std::span<const std::byte> page);
  DiskFile::Found fetch(SlotId slot, const PageRecord& expected, std::span<std::byte> page);
  bool is_usable(DiskFile& file);
  void close(DiskFile& file);
  bool still_owns_folder();
  bool make_room(uint64_t num_bytes);
  bool fits(uint64_t num_bytes) const;
  std::vector<ForeignFile> count_foreign_files();
  void delete_foreign_files(uint64_t num_bytes);  // the longest unused first, until num_bytes fit
  uint64_t used_bytes() const;

  bool is_resting() const;
  bool note(const IoFailure& failure);  // whether it is one
  void rest();
  void publish_used_bytes();

  const std::string folder_, lock_path_;
  const uint64_t capacity_bytes_;
  const std::shared_ptr<FileSystem> files_;
  const std::shared_ptr<Clock> clock_;
  std::unique_ptr<OpenFile> lock_;
  std::vector<DiskFile> groups_;
  uint64_t foreign_bytes_ = 0;
  bool foreign_is_known_ = false;
  bool is_scanned_ = false;
  bool has_ended_ = false;

  mutable std::mutex mutex_;  // guards what follows
  TierStats stats_;
  IoFailure last_failure_;
  int64_t rest_began_us_ = 0;
  int64_t rest_us_ = 0;  // 0: the last write went well
};

}  // namespace kvi
