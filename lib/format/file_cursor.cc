#include "format/file_cursor.h"

#include <algorithm>

#include "base/text.h"

namespace kvi {
namespace {

constexpr uint64_t kBufferBytes = 64 << 10;

}  // namespace

Error FileCursor::error(Status status, const std::string& text) const {
  return Error(status, concat(quoted(file_.path(), 400), ": ", subject_, ": ", text));
}

void FileCursor::require_items(uint64_t count, uint64_t item_bytes, const char* part) const {
  if (count > remaining() / item_bytes) {
    throw error(Status::CORRUPT,
                concat(part, " at byte ", position_, " needs ", count, " x ", item_bytes,
                       " bytes, but ", remaining(), " are left; the file is truncated or damaged"))
        .amounts(count, remaining() / item_bytes);
  }
  if (count * item_bytes > max_bytes_ - position_) {
    throw error(Status::UNSUPPORTED, concat(part, " at byte ", position_, " needs ", count, " x ",
                                            item_bytes, " bytes; a header may have ", max_bytes_))
        .amounts(position_ + count * item_bytes, max_bytes_);
  }
}

std::string FileCursor::read_string(uint64_t max_len, const char* part) {
  const uint64_t length = read<uint64_t>(part);
  require_items(length, 1, part);
  if (length > max_len) {
    throw error(Status::UNSUPPORTED,
                concat(part, " has ", length, " bytes; at most ", max_len, " are accepted"))
        .amounts(length, max_len);
  }
  std::string text(length, '\0');
  read_bytes(text.data(), text.size(), part);
  return text;
}

void FileCursor::read_bytes(void* dst, size_t size, const char* part) {
  require_items(size, 1, part);
  auto* out = static_cast<std::byte*>(dst);
  while (size > 0) {
    uint64_t skipped = position_ - buffer_start_;
    if (skipped >= buffer_.size()) {
      buffer_.resize(std::min(kBufferBytes, remaining()));
      file_.read_exact(position_, buffer_);
      buffer_start_ = position_;
      skipped = 0;
    }
    const size_t piece = std::min<size_t>(size, buffer_.size() - skipped);
    std::memcpy(out, buffer_.data() + skipped, piece);
    out += piece;
    size -= piece;
    position_ += piece;
  }
}

}  // namespace kvi
