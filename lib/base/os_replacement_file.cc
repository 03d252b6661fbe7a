#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/replacement_file.h"
#include "base/text.h"

namespace kvi {
namespace {

// The message names what was done to which file, and the system's reason.
[[noreturn]] void throw_io(int code, const std::string& what) {
  char text[128] = "";
  const char* reason = strerror_r(code, text, sizeof text);  // the GNU form returns the text
  throw Error(code == ENOENT || code == ENOTDIR ? Status::NOT_FOUND : Status::IO,
              concat(what, ": ", reason));
}

std::string random_suffix() {
  uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits) bits = 0;  // O_EXCL decides
  char text[32];
  std::snprintf(text, sizeof text, ".tmp-%016llx", static_cast<unsigned long long>(bits));
  return text;
}

// So that the new name survives a crash. Where folders cannot be synced, it does as soon as the system likes.
void sync_folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

ReplacementFile::ReplacementFile(const std::string& path) : path_(path) {
  // A NUL inside would silently write another file than the one named.
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("path ", quoted(path), " is empty or contains a NUL byte"));
  }
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    throw Error(Status::INVALID_ARGUMENT,
                concat(quoted(path, 400), " is not a regular file; only such a file is replaced"));
  }
  written_path_ = path + random_suffix();
  fd_ = ::open(written_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) throw_io(errno, concat("cannot create ", quoted(written_path_, 400)));
}

ReplacementFile::~ReplacementFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!written_path_.empty()) ::unlink(written_path_.c_str());
}

void ReplacementFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw_io(errno, concat("cannot write ", bytes.size(), " bytes to ", quoted(path_, 400),
                             " after ", num_bytes_));
    }
    num_bytes_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void ReplacementFile::commit() {
  if (::fsync(fd_) != 0) {
    throw_io(errno,
             concat("cannot bring ", num_bytes_, " bytes of ", quoted(path_, 400), " to the disk"));
  }
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0 && errno != EINTR) {
    throw_io(errno, concat("cannot close ", quoted(written_path_, 400)));
  }
  if (::rename(written_path_.c_str(), path_.c_str()) != 0) {
    throw_io(errno,
             concat("cannot rename ", quoted(written_path_, 400), " to ", quoted(path_, 400)));
  }
  written_path_.clear();
  sync_folder_of(path_);
}

}  // namespace kvi
