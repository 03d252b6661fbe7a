#include "cache/disk_folder.h"

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/os_random.h"
#include "base/text.h"

namespace kvi {
namespace {

using Secret = std::array<uint8_t, 32>;

// What a crash while it is made leaves behind is shorter, or zero.
bool is_made(OpenFile& file, Secret& secret) {
  const auto info = file.info();
  return info.ok() && info.value.size_bytes == secret.size() &&
         read_exact(file, 0, std::as_writable_bytes(std::span(secret))) == 0 &&
         std::ranges::any_of(secret, [](uint8_t byte) { return byte != 0; });
}

int make_secret(OpenFile& file, Secret& secret) {
  const std::span bytes = std::as_writable_bytes(std::span(secret));
  if (!fill_with_secret_bytes(bytes)) return EIO;
  if (int error = file.truncate(0)) return error;
  if (int error = write_exact(file, 0, bytes)) return error;
  return file.sync();  // before anybody's salt depends on it
}

}  // namespace

void prepare_folder(FileSystem& files, const std::string& folder) {
  const int error = files.make_folder(folder);
  if (error == 0) return;
  if (error != EEXIST) {
    throw Error(Status::IO, concat("cannot make the folder ", quoted(folder, 400), ": ",
                                   errno_text(error), "; what is above it must exist"));
  }
  // A symbolic link to a folder is as good as the folder, so it is asked for what it holds.
  if (const auto listed = files.list(folder); !listed.ok()) {
    throw Error(
        listed.error == ENOTDIR ? Status::INVALID_ARGUMENT : Status::IO,
        concat("cannot use ", quoted(folder, 400), " as a folder: ", errno_text(listed.error)));
  }
}

IoResult<std::unique_ptr<OpenFile>> lock_file(FileSystem& files, const std::string& path) {
  auto opened = files.open(path, OpenMode::write);
  if (!opened.ok()) return opened;
  const auto locked = opened.value->try_lock();
  if (!locked.ok()) return {locked.error};
  if (!locked.value) return {EWOULDBLOCK};
  return opened;
}

std::array<uint8_t, 32> folder_secret(FileSystem& files, const std::string& folder) {
  prepare_folder(files, folder);
  const std::string path = folder + "/secret";
  Secret secret;
  int error = 0;
  if (const auto existing = files.open(path, OpenMode::read); existing.ok()) {
    if (is_made(*existing.value, secret)) return secret;
  }
  const auto locked = lock_file(files, path);
  if (locked.ok()) {
    if (is_made(*locked.value, secret)) return secret;  // by who had the lock before
    error = make_secret(*locked.value, secret);
    if (error == 0) return secret;
  } else {
    error = locked.error;
  }
  if (error == EWOULDBLOCK) {
    throw Error(Status::BUSY, concat(quoted(path, 400), " is being made by another process"))
        .retryable();
  }
  const bool is_other = error == ELOOP || error == EISDIR || error == EINVAL;
  throw Error(is_other ? Status::INVALID_ARGUMENT : Status::IO,
              concat("cannot make the secret ", quoted(path, 400), ": ", errno_text(error),
                     is_other ? "; it must be a regular file" : ""));
}

}  // namespace kvi
