// The disk tier that disk_writer and disk_crash_test.cc share.
#pragma once

#include <string>

#include "cache/disk_store.h"
#include "support/tier_pages.h"

namespace kvi {

inline constexpr int kCrashSlots = 16;  // of each group
inline constexpr uint64_t kCrashPageBytes[] = {100'000, 20'000};

inline DiskStoreOptions crash_options(std::string folder) {
  return {std::move(folder),
          uint64_t{64} << 20,
          test_digest(2, 99),
          {{kCrashPageBytes[0], 16}, {kCrashPageBytes[1], 16}}};
}

}  // namespace kvi
