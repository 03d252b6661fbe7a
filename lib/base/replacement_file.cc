#include "base/replacement_file.h"

#include <array>
#include <cerrno>
#include <climits>
#include <utility>

#include "base/error.h"
#include "base/os_random.h"
#include "base/sha256.h"
#include "base/text.h"

namespace kvi {
namespace {

// The message names what was done to which file, and the system's reason.
[[noreturn]] void throw_io(int error, const std::string& what) {
  throw Error(error == ENOENT || error == ENOTDIR ? Status::NOT_FOUND : Status::IO,
              concat(what, ": ", errno_text(error)));
}

std::string random_suffix() {
  std::array<uint8_t, 8> bits = {};
  // Without randomness too: create_new decides.
  (void)fill_with_secret_bytes(std::as_writable_bytes(std::span(bits)));
  return ".tmp-" + to_hex(bits);
}

// Beside the path, with as much of its name as names may be long.
std::string temporary_path(const std::string& path) {
  const std::string suffix = random_suffix();
  const size_t name_begin = path.find_last_of('/') + 1;  // 0 where there is no slash
  return path.substr(0, name_begin + (NAME_MAX - suffix.size())) + suffix;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace

ReplacementFile::ReplacementFile(const std::string& path, std::shared_ptr<FileSystem> files)
    : path_(path), files_(std::move(files)) {
  // A NUL inside would silently write another file than the one named.
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("path ", quoted(path), " is empty or contains a NUL byte"));
  }
  const IoResult<FileInfo> info = files_->info(path);
  if (info.ok() && info.value.kind != FileKind::regular) {
    throw Error(Status::INVALID_ARGUMENT,
                concat(quoted(path, 400), " is not a regular file; only such a file is replaced"));
  }
  written_path_ = temporary_path(path);
  IoResult<std::unique_ptr<OpenFile>> file = files_->open(written_path_, OpenMode::create_new);
  if (!file.ok()) throw_io(file.error, concat("cannot create ", quoted(written_path_, 400)));
  file_ = std::move(file.value);
}

ReplacementFile::~ReplacementFile() {
  file_.reset();
  if (!written_path_.empty()) files_->unlink(written_path_);
}

void ReplacementFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    IoResult<size_t> written = file_->write(num_bytes_, bytes);
    if (written.ok() && written.value == 0) written.error = EIO;  // never a loop without end
    if (!written.ok()) {
      throw_io(written.error, concat("cannot write ", bytes.size(), " bytes to ",
                                     quoted(path_, 400), " after ", num_bytes_));
    }
    num_bytes_ += written.value;
    bytes = bytes.subspan(written.value);
  }
}

void ReplacementFile::commit() {
  if (const int error = file_->sync()) {
    throw_io(error,
             concat("cannot bring ", num_bytes_, " bytes of ", quoted(path_, 400), " to the disk"));
  }
  file_.reset();
  if (const int error = files_->rename(written_path_, path_)) {
    throw_io(error,
             concat("cannot rename ", quoted(written_path_, 400), " to ", quoted(path_, 400)));
  }
  written_path_.clear();
  // So that the new name survives a crash. Where folders cannot be synced, it does as soon as the system likes.
  files_->sync_folder(folder_of(path_));
}

}  // namespace kvi
