// Reads the header of a model file front to back, through a small buffer.
//
// Every length that the file claims is compared with the bytes that are left before anything is
// allocated for it, so a hostile header costs no more memory than it has bytes.
//
// Not thread-safe.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace kvi {

static_assert(std::endian::native == std::endian::little, "model files are read as little endian");

class FileCursor {
 public:
  // max_bytes: the largest header that is accepted.
  FileCursor(const File& file, uint64_t max_bytes) : file_(file), max_bytes_(max_bytes) {}

  uint64_t position() const { return position_; }  // bytes from the start of the file
  uint64_t remaining() const { return file_.size() - position_; }

  // What is being read ("tensor 'x'"), for the messages; followed by the part that each read names.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  template <typename T>
    requires std::is_arithmetic_v<T> T read(const char* part) {
      T value;
      read_bytes(&value, sizeof value, part);
      return value;
    }

  // A 64-bit length and that many bytes. Longer than max_len is UNSUPPORTED.
  std::string read_string(uint64_t max_len, const char* part);

  // Throws CORRUPT unless count items of item_bytes each may still follow, UNSUPPORTED when they make the
  // header too large.
  void require_items(uint64_t count, uint64_t item_bytes, const char* part) const;

  // An Error about the subject: "'file': subject: text".
  Error error(Status status, const std::string& text) const;

 private:
  void read_bytes(void* dst, size_t size, const char* part);

  const File& file_;
  const uint64_t max_bytes_;
  uint64_t position_ = 0;
  std::string subject_ = "header";
  std::vector<std::byte> buffer_;
  uint64_t buffer_start_ = 0;  // of the file
};

}  // namespace kvi
