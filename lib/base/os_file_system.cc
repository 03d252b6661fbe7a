// FileSystem on Linux.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <new>
#include <utility>

#include "base/file_system.h"

namespace kvi {
namespace {

constexpr uint64_t kMostOffset = std::numeric_limits<off_t>::max();
constexpr size_t kMostAtOnce = size_t{1} << 30;

int error_of(int result) { return result == 0 ? 0 : errno; }

template <typename Call>
auto retried(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// A path with a NUL inside would name another file than the one meant.
bool has_nul(const std::string& path) { return path.find('\0') != std::string::npos; }

// Growing a file past RLIMIT_FSIZE raises SIGXFSZ, which ends the host: it is refused before.
int check_extent(uint64_t offset, uint64_t num_bytes) {
  rlimit limit = {};
  uint64_t most = kMostOffset;
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0) most = std::min<uint64_t>(most, limit.rlim_cur);
  return offset <= most && num_bytes <= most - offset ? 0 : EFBIG;
}

FileInfo info_of(const struct stat& found) {
  FileInfo info;
  info.kind = S_ISREG(found.st_mode)   ? FileKind::regular
              : S_ISDIR(found.st_mode) ? FileKind::folder
                                       : FileKind::other;
  info.size_bytes = static_cast<uint64_t>(found.st_size);
  info.allocated_bytes = static_cast<uint64_t>(found.st_blocks) * 512;
  info.num_links = found.st_nlink;
  info.modified_us = int64_t{found.st_mtim.tv_sec} * 1'000'000 + found.st_mtim.tv_nsec / 1000;
  return info;
}

class Descriptor final : public OpenFile {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() override {
    // A forked child may still hold a copy of the descriptor, and the lock would live with it.
    if (locked_) flock(fd_, LOCK_UN);
    close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  IoResult<size_t> read(uint64_t offset, std::span<std::byte> dst) override {
    if (offset > kMostOffset) return {EINVAL};
    const ssize_t got = retried([&] {
      return pread(fd_, dst.data(), std::min(dst.size(), kMostAtOnce), static_cast<off_t>(offset));
    });
    if (got < 0) return {errno};
    return {0, static_cast<size_t>(got)};
  }

  IoResult<size_t> write(uint64_t offset, std::span<const std::byte> src) override {
    const size_t num_bytes = std::min(src.size(), kMostAtOnce);
    if (int error = check_extent(offset, num_bytes)) return {error};
    const ssize_t done = retried(
        [&] { return pwrite(fd_, src.data(), num_bytes, static_cast<off_t>(offset)); });
    if (done < 0) return {errno};
    return {0, static_cast<size_t>(done)};
  }

  IoResult<FileInfo> info() override {
    struct stat found = {};
    if (fstat(fd_, &found) != 0) return {errno};
    return {0, info_of(found)};
  }

  int truncate(uint64_t num_bytes) override {
    if (int error = check_extent(0, num_bytes)) return error;
    return error_of(retried([&] { return ftruncate(fd_, static_cast<off_t>(num_bytes)); }));
  }

  int allocate(uint64_t offset, uint64_t num_bytes) override {
    if (int error = check_extent(offset, num_bytes)) return error;
    return change_space(0, offset, num_bytes);
  }

  int punch_hole(uint64_t offset, uint64_t num_bytes) override {
    if (offset > kMostOffset || num_bytes > kMostOffset - offset) return EINVAL;
    return change_space(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, num_bytes);
  }

  int sync() override {
    return error_of(retried([&] { return fdatasync(fd_); }));
  }

  // flock, not fcntl's record locks: those do not exclude within one process.
  IoResult<bool> try_lock() override {
    if (retried([&] { return flock(fd_, LOCK_EX | LOCK_NB); }) == 0) {
      locked_ = true;
      return {0, true};
    }
    return {errno == EWOULDBLOCK ? 0 : errno, false};
  }

 private:
  int change_space(int mode, uint64_t offset, uint64_t num_bytes) {
    return error_of(retried([&] {
      return fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(num_bytes));
    }));
  }

  const int fd_;
  bool locked_ = false;
};

class OsFileSystem final : public FileSystem {
 public:
  IoResult<std::unique_ptr<OpenFile>> open(const std::string& path, OpenMode mode) override {
    if (has_nul(path)) return {EINVAL};
    // O_NONBLOCK: a FIFO of that name must not block us.
    int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    switch (mode) {
      case OpenMode::read: flags |= O_RDONLY | O_NOFOLLOW; break;
      case OpenMode::read_named: flags |= O_RDONLY; break;
      case OpenMode::write: flags |= O_RDWR | O_CREAT | O_NOFOLLOW; break;
      case OpenMode::create_new: flags |= O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW; break;
    }
    const int fd = retried([&] { return ::open(path.c_str(), flags, 0600); });
    if (fd < 0) return {errno == ENXIO ? EINVAL : errno};  // ENXIO: a socket
    struct stat found = {};
    int error = error_of(fstat(fd, &found));
    if (error == 0 && S_ISDIR(found.st_mode)) error = EISDIR;
    if (error == 0 && !S_ISREG(found.st_mode)) error = EINVAL;
    std::unique_ptr<OpenFile> file(error == 0 ? new (std::nothrow) Descriptor(fd) : nullptr);
    if (file == nullptr) {
      close(fd);
      return {error == 0 ? ENOMEM : error};
    }
    return {0, std::move(file)};
  }

  IoResult<FileInfo> info(const std::string& path) override {
    if (has_nul(path)) return {EINVAL};
    struct stat found = {};
    if (lstat(path.c_str(), &found) != 0) return {errno};
    return {0, info_of(found)};
  }

  int rename(const std::string& from, const std::string& to) override {
    if (has_nul(from) || has_nul(to)) return EINVAL;
    return error_of(::rename(from.c_str(), to.c_str()));
  }

  int unlink(const std::string& path) override {
    if (has_nul(path)) return EINVAL;
    return error_of(::unlink(path.c_str()));
  }

  IoResult<std::vector<std::string>> list(const std::string& folder) override {
    if (has_nul(folder)) return {EINVAL};
    DIR* listing = opendir(folder.c_str());
    if (listing == nullptr) return {errno};
    IoResult<std::vector<std::string>> names;
    try {
      for (;;) {
        errno = 0;
        const dirent* entry = readdir(listing);  // NOLINT(concurrency-mt-unsafe): our own listing
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.value.push_back(name);
      }
      names.error = errno;
    } catch (const std::bad_alloc&) {  // of the standard library; this seam answers in errnos
      names.error = ENOMEM;
    }
    closedir(listing);
    return names;
  }

  int make_folder(const std::string& path) override {
    if (has_nul(path)) return EINVAL;
    return error_of(mkdir(path.c_str(), 0700));
  }

  int sync_folder(const std::string& path) override {
    if (has_nul(path)) return EINVAL;
    const int fd = retried(
        [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (fd < 0) return errno;
    const int error = error_of(retried([&] { return fsync(fd); }));
    close(fd);
    return error;
  }

  IoResult<uint64_t> free_bytes(const std::string& folder) override {
    if (has_nul(folder)) return {EINVAL};
    struct statvfs found = {};
    if (retried([&] { return statvfs(folder.c_str(), &found); }) != 0) return {errno};
    return {0, uint64_t{found.f_bavail} * found.f_frsize};
  }
};

}  // namespace

std::shared_ptr<FileSystem> os_file_system() { return std::make_shared<OsFileSystem>(); }

}  // namespace kvi
