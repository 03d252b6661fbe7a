// How inputs of disk_store_fuzz become a page file.
//
// Byte 0 has the flags below. What follows is the file itself (kRaw), or kSlotInput bytes a slot: the
// beginning of its header, and then its page, behind a right file header.
#pragma once

#include <cstdint>

#include "cache/disk_format.h"
#include "support/tier_pages.h"

namespace kvi {

enum : uint8_t {
  kRaw = 1,
  kSealed = 2,   // header checksums are made right, so that hostile fields are looked at
  kNoHoles = 4,  // the file system has none
};

inline constexpr TierGroup kFuzzGroup = {64, 16};
inline constexpr size_t kHeaderInput = 256;  // more than all fields of a slot header
inline constexpr size_t kSlotInput = kHeaderInput + 64;

inline DiskFormat fuzz_format() { return {test_digest(3, 99), 0, kFuzzGroup}; }

}  // namespace kvi
