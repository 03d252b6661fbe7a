// A new file that takes the place of an older one in one step, or leaves it as it was.
//
// The bytes go to PATH.tmp-<random> (its name cut where it would be too long) with mode 0600; commit() makes them PATH.
// Until then, and when anything fails, PATH is untouched, and the destructor removes what was written.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/file_system.h"

namespace kvi {

class ReplacementFile {
 public:
  // Throws NOT_FOUND without the folder, INVALID_ARGUMENT where path is something else than a file (a symbolic
  // link too), IO.
  explicit ReplacementFile(const std::string& path,
                           std::shared_ptr<FileSystem> files = os_file_system());
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  void write(std::span<const std::byte> bytes);  // Throws IO, a full disk included
  void commit();                                 // once, as the last call. Throws IO

  uint64_t num_bytes() const { return num_bytes_; }  // written so far

 private:
  const std::string path_;
  const std::shared_ptr<FileSystem> files_;
  std::string written_path_;  // "" when committed
  std::unique_ptr<OpenFile> file_;
  uint64_t num_bytes_ = 0;
};

}  // namespace kvi
