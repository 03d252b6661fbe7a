// Which prefixes the disk tier's folder holds for another model, layout or numerics, so that a miss can say so.
// Their pages are never read.
//
// It knows the keys in the headers of their slots, which it reads once, when it is first asked: the files used last
// first, and within bounds. A file that cannot be read, or holds anything else, holds nothing. The answer is a hint.
//
// Thread-safe. Who asks while the files are being read waits for that.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/token_id.h"
#include "cache/disk_format.h"
#include "cache/miss_reason.h"
#include "cache/prefix_key.h"

namespace kvi {

class ForeignPages {
 public:
  // folder: whose lock our DiskStore has, so that nobody else writes there. identity, parts: ours.
  ForeignPages(std::string folder, const Digest& identity, const IdentityParts& parts,
               std::shared_ptr<FileSystem> files, std::shared_ptr<Clock> clock);

  // What keeps the page that has the position from being ours: its scope is the tenant's, or the shared one. Of
  // several reasons the nearest: numerics, layout, model. never_seen: it is nobody's, as a whole page.
  // Requires: 0 <= position < tokens.size().
  MissReason why_missing(const Digest& salt, std::span<const TokenId> tokens,
                         int position) noexcept;

 private:
  struct KeysOfFile {
    std::string path;
    std::vector<uint64_t> keys;  // the first words of them, ascending
  };
  struct Identity {
    Digest root;
    int page_len;
    MissReason reason;
    std::vector<KeysOfFile> files;
  };
  struct Reading;  // the bounds

  MissReason reason_for(const IdentityParts& parts) const;
  std::vector<std::string> paths_by_use() const;
  std::vector<Identity> read_identities() const;
  void read_file(const std::string& path, Reading& reading,
                 std::vector<Identity>& identities) const;
  bool has_page_at(const Identity& identity, const Digest& salt, std::span<const TokenId> tokens,
                   int position) const;
  bool is_there(const Identity& identity, const Digest& key) const;

  const std::string folder_;
  const Digest identity_;
  const IdentityParts parts_;
  const std::shared_ptr<FileSystem> files_;
  const std::shared_ptr<Clock> clock_;

  std::mutex mutex_;  // guards what follows
  bool was_read_ = false;
  std::vector<Identity> identities_;  // the nearest first
};

}  // namespace kvi
