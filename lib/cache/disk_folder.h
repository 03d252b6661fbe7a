// What the disk tier's folder holds beside page files: the lock of its one owner, and a secret.
//
// Thread-safe: functions without state.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/file_system.h"

namespace kvi {

// Makes the folder, with mode 0700, unless it exists; what is above it must. Throws IO, or INVALID_ARGUMENT
// when there is something else of that name.
void prepare_folder(FileSystem& files, const std::string& folder);

// Locks `path`, which is made if need be, until the result is destroyed. EWOULDBLOCK: another owner has it.
IoResult<std::unique_ptr<OpenFile>> lock_file(FileSystem& files, const std::string& path);

// 32 random bytes that stay the same as long as <folder>/secret is there, which is made, with mode 0600, when
// it is not. For salts that are to be stable across restarts. Needs no lock of the folder.
// Throws IO, INVALID_ARGUMENT (the folder or the file is something else), or BUSY, retryable, while another
// process makes it.
std::array<uint8_t, 32> folder_secret(FileSystem& files, const std::string& folder);

}  // namespace kvi
