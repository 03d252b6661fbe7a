// What the tests of the disk tier share: two groups of small pages, and a store on any FileSystem.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cache/disk_store.h"
#include "sim/manual_clock.h"
#include "support/tier_pages.h"

namespace kvi {

inline constexpr uint64_t kDiskPageBytes[] = {10'000, 4096};
inline constexpr uint64_t kDiskSlotBytes[] = {4096 + 3 * 4096, 4096 + 4096};

inline DiskStoreOptions disk_options(std::string folder, uint64_t capacity_bytes = 1 << 20) {
  return {std::move(folder),
          capacity_bytes,
          test_digest(1, 99),
          {{kDiskPageBytes[0], 16}, {kDiskPageBytes[1], 16}}};
}

// Opens and scans; a page found in a slot is named by group and slot.
inline std::unique_ptr<DiskStore> open_disk(
    const DiskStoreOptions& options, std::shared_ptr<FileSystem> files,
    std::shared_ptr<Clock> clock,
    const DiskFile::Visitor& visitor = [](SlotId, const PageRecord&) {}) {
  auto store = DiskStore::open(options, std::move(files), std::move(clock));
  store->scan(visitor);
  return store;
}

inline bool put(DiskStore& store, SlotId slot, const TestPage& page) {
  const PageRecord record = page.record();
  return store.write(slot, record, page.bytes(kDiskPageBytes[record.group]));
}

// Whether the slot has the page; a wrong one fails the test.
inline bool holds(DiskStore& store, SlotId slot, const PageRecord& record) {
  std::vector<std::byte> bytes(kDiskPageBytes[record.group]);
  if (!store.read(slot, record, bytes)) return false;
  EXPECT_TRUE(bytes == page_of_key(record.key, bytes.size())) << "WRONG PAGE in slot " << slot;
  return true;
}
inline bool holds(DiskStore& store, SlotId slot, const TestPage& page) {
  return holds(store, slot, page.record());
}

}  // namespace kvi
