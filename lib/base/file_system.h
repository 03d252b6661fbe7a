// The seam for files that the library writes: tests and the simulator put one that fails behind it.
//
// No call throws: each answers with 0 or an errno, and running out of memory is ENOMEM. It says nothing of
// files that are only read as a whole, such as models (base/file.h).
//
// A FileSystem is thread-safe; an OpenFile is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kvi {

template <typename T>
struct IoResult {
  int error = 0;  // an errno; 0: value holds
  T value = {};

  bool ok() const { return error == 0; }
};

enum class FileKind : uint8_t { regular, folder, other };

struct FileInfo {
  FileKind kind = FileKind::regular;
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;  // on the disk: holes take none
  uint64_t num_links = 1;        // 0: deleted, and gone once it is closed
  int64_t modified_us = 0;       // since 1970, by the file system's clock
};

enum class OpenMode : uint8_t {
  read,        // ENOENT where there is none
  read_named,  // as read, and follows symbolic links: for a path that a user gave
  write,       // to read and write; made where there is none, with mode 0600
  create_new,  // as write; EEXIST where there is one
};

class OpenFile {
 public:
  virtual ~OpenFile() = default;  // closes, and unlocks

  // Both may do less than was asked and then say how much; reading 0 bytes is the end of the file.
  virtual IoResult<size_t> read(uint64_t offset, std::span<std::byte> dst) = 0;
  virtual IoResult<size_t> write(uint64_t offset, std::span<const std::byte> src) = 0;

  virtual IoResult<FileInfo> info() = 0;
  virtual int truncate(uint64_t num_bytes) = 0;  // or extend, with a hole
  // Makes sure that later writes there find space; extends the file.
  virtual int allocate(uint64_t offset, uint64_t num_bytes) = 0;
  // Gives the space back; the bytes then read as zero. EOPNOTSUPP where files have no holes.
  virtual int punch_hole(uint64_t offset, uint64_t num_bytes) = 0;
  virtual int sync() = 0;  // until the data are on the disk
  // Excludes every other OpenFile that locks the same file, in this process too. False: another has it.
  virtual IoResult<bool> try_lock() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Regular files only: EISDIR for a folder, ELOOP for a symbolic link, EINVAL for what else there is.
  virtual IoResult<std::unique_ptr<OpenFile>> open(const std::string& path, OpenMode mode) = 0;
  virtual IoResult<FileInfo> info(const std::string& path) = 0;  // of a symbolic link itself: other
  virtual int rename(const std::string& from, const std::string& to) = 0;  // replaces `to`
  virtual int unlink(const std::string& path) = 0;
  virtual IoResult<std::vector<std::string>> list(
      const std::string& folder) = 0;  // names, unordered
  virtual int make_folder(
      const std::string& path) = 0;  // mode 0700; EEXIST where there is anything
  virtual int sync_folder(const std::string& path) = 0;  // until its names are on the disk
  virtual IoResult<uint64_t> free_bytes(const std::string& folder) = 0;
};

std::shared_ptr<FileSystem> os_file_system();

// All of it, however often that takes. Reading past the end is ENODATA.
int read_exact(OpenFile& file, uint64_t offset, std::span<std::byte> dst);
int write_exact(OpenFile& file, uint64_t offset, std::span<const std::byte> src);

std::string errno_text(int error);  // "No space left on device"

}  // namespace kvi
