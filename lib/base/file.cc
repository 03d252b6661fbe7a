#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/file_system.h"
#include "base/text.h"

namespace kvi {

File::File(const std::string& path) : path_(path) {
  // A NUL inside would silently open another file than the one named.
  if (path.find('\0') != std::string::npos) {
    throw Error(Status::INVALID_ARGUMENT, concat("path ", quoted(path), " contains a NUL byte"));
  }
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    int code = errno;
    Status status = code == ENOENT || code == ENOTDIR ? Status::NOT_FOUND : Status::IO;
    throw Error(status, concat("cannot open ", quoted(path, 400), ": ", errno_text(code)));
  }
  struct stat info;
  if (::fstat(fd_, &info) != 0) {
    const int code = errno;
    ::close(fd_);
    throw Error(Status::IO, concat("cannot look at ", quoted(path, 400), ": ", errno_text(code)));
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd_);
    throw Error(Status::INVALID_ARGUMENT, concat(quoted(path, 400), " is not a regular file"));
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

void File::read_exact(uint64_t offset, std::span<std::byte> dst) const {
  size_t done = 0;
  while (done < dst.size()) {
    size_t piece = std::min(dst.size() - done, size_t{1} << 30);
    ssize_t got = ::pread(fd_, dst.data() + done, piece, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(Status::IO, concat("reading ", quoted(path_, 400), " at byte ", offset + done,
                                     ": ", errno_text(errno)));
    }
    if (got == 0) {
      throw Error(Status::CORRUPT,
                  concat(quoted(path_, 400), " ends at byte ", offset + done, " where ",
                         dst.size() - done, " more bytes are expected; the file is truncated"));
    }
    done += static_cast<size_t>(got);
  }
}

std::string File::read_all(const std::string& path, uint64_t max_bytes) {
  File file(path);
  if (file.size() > max_bytes) {
    throw Error(Status::UNSUPPORTED, concat(quoted(path, 400), " has ", file.size(),
                                            " bytes; at most ", max_bytes, " are accepted"))
        .amounts(file.size(), max_bytes);
  }
  std::string text(file.size(), '\0');
  file.read_exact(0, std::as_writable_bytes(std::span(text)));
  return text;
}

bool is_directory(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

}  // namespace kvi
