#include "base/file_system.h"

#include <cerrno>
#include <cstring>

namespace kvi {

int read_exact(OpenFile& file, uint64_t offset, std::span<std::byte> dst) {
  while (!dst.empty()) {
    const IoResult<size_t> got = file.read(offset, dst);
    if (!got.ok()) return got.error;
    if (got.value == 0) return ENODATA;
    offset += got.value;
    dst = dst.subspan(got.value);
  }
  return 0;
}

int write_exact(OpenFile& file, uint64_t offset, std::span<const std::byte> src) {
  while (!src.empty()) {
    const IoResult<size_t> done = file.write(offset, src);
    if (!done.ok()) return done.error;
    if (done.value == 0) return EIO;  // no progress and no reason: never a loop without end
    offset += done.value;
    src = src.subspan(done.value);
  }
  return 0;
}

std::string errno_text(int error) {
  char text[128] = "";
  return strerror_r(error, text, sizeof text);  // the GNU form returns the text
}

}  // namespace kvi
