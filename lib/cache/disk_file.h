// One layer group's file of the disk tier: which of its slots take space, and reads and writes of them.
//
// Knows neither capacity, locks nor other files: that is DiskStore's. A file that was deleted or cut under
// our feet loses what it held, and nothing else.
//
// Not thread-safe: owned by DiskStore.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "cache/disk_format.h"

namespace kvi {

// A call of the system that failed. `path` outlives whoever failed.
struct IoFailure {
  const char* call = nullptr;
  int error = 0;
  const std::string* path = nullptr;

  explicit operator bool() const { return call != nullptr; }
};

class DiskFile {
 public:
  using Visitor = TierStore::Visitor;

  DiskFile(std::string path, const DiskFormat& format, int num_slots);

  // Opens or makes the file. What holds no slots of this format becomes an empty file, and so does
  // every file where `keep` is no.
  enum class KeepPages : bool { no, yes };
  IoFailure open(FileSystem& files, KeepPages keep);
  bool is_open() const { return file_ != nullptr; }
  bool is_damaged();  // requires: is_open; deleted, or cut so that not even its header is left
  void close();

  // Reads the headers of all slots once after open, which must come first. What is no page gives its space
  // back, and so do pages beyond the first `most_bytes` of the file. Returns the first failure, and goes on.
  IoFailure scan(uint64_t most_bytes, const Visitor& visitor);

  // Requires of these: is_open, scanned, 0 <= slot < num_slots.
  IoFailure write(SlotId slot, const PageRecord& record, std::span<const std::byte> page);
  enum class Found : uint8_t { page, mismatch, failure };
  Found read(SlotId slot, const PageRecord& expected, std::span<std::byte> page,
             IoFailure& failure);
  IoFailure discard(SlotId slot);

  const std::string& path() const { return path_; }
  const DiskFormat& format() const { return format_; }
  int num_slots() const { return num_slots_; }
  uint64_t used_bytes() const { return used_bytes_; }  // on the disk, the file's header included
  uint64_t bytes_to_write(SlotId slot) const;          // by how much a write makes used_bytes grow

 private:
  struct SlotState {
    bool allocated = false;    // takes space on the disk
    bool maybe_valid = false;  // its header may be that of a page
  };

  IoFailure failed(const char* call, int error) const { return {call, error, &path_}; }
  IoFailure read_at(uint64_t offset, std::span<std::byte> bytes);
  IoFailure write_at(uint64_t offset, std::span<const std::byte> bytes);
  IoFailure invalidate(SlotId slot);
  IoFailure free_slots(SlotId begin, SlotId end);
  void allocate(SlotId slot);
  IoFailure drop_free_tail();

  const std::string path_;
  const DiskFormat format_;
  const int num_slots_;
  std::unique_ptr<OpenFile> file_;
  bool has_holes_ = false;        // the file system can give back the middle of a file
  std::vector<SlotState> slots_;  // up to the end of the file
  uint64_t used_bytes_ = 0;
  uint64_t next_generation_ = 1;
  std::vector<std::byte> header_;  // header_bytes: of the slot at hand
};

}  // namespace kvi
