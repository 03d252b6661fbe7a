// A regular file opened for reading, with every read checked.
//
// Thread-safe after construction: reads are positional and share no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvi {

class File {
 public:
  // Throws NOT_FOUND, IO, or INVALID_ARGUMENT when path is not a regular file.
  explicit File(const std::string& path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  File(const File&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // bytes, when it was opened

  // Fills dst from offset. Throws IO, or CORRUPT when the file ends before dst is full.
  void read_exact(uint64_t offset, std::span<std::byte> dst) const;

  // The whole file as text. Throws UNSUPPORTED when it is larger than max_bytes.
  static std::string read_all(const std::string& path, uint64_t max_bytes);

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

bool is_directory(const std::string& path);
bool file_exists(const std::string& path);

}  // namespace kvi
