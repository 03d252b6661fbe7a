#include "base/memory_range.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/expect_error.h"

namespace kvi {
namespace {

TEST(MemoryRangeTest, CommittedMemoryIsZeroAndDecommittedMemoryIsZeroAgain) {
  auto range = reserve_host_memory(10 << 20);
  const uint64_t granule = range->granule_bytes();
  ASSERT_TRUE(range->commit(3 * granule, 2 * granule));
  std::byte* memory = range->address() + 3 * granule;
  for (uint64_t i = 0; i < 2 * granule; ++i) ASSERT_EQ(memory[i], std::byte{0});
  std::memset(memory, 0x77, 2 * granule);
  range->decommit(3 * granule, granule);
  ASSERT_TRUE(range->commit(3 * granule, granule));
  EXPECT_EQ(memory[0], std::byte{0});
  EXPECT_EQ(memory[granule], std::byte{0x77});
}

TEST(MemoryRangeTest, DecommitKeepsGranulesThatItCoversInPart) {
  auto range = reserve_host_memory(1 << 20);
  const uint64_t granule = range->granule_bytes();
  ASSERT_TRUE(range->commit(0, range->size_bytes()));
  std::memset(range->address(), 0x77, 3 * granule);
  range->decommit(1, 3 * granule - 2);
  EXPECT_EQ(range->address()[0], std::byte{0x77});
  EXPECT_EQ(range->address()[granule], std::byte{0});
  EXPECT_EQ(range->address()[2 * granule], std::byte{0x77});
}

TEST(MemoryRangeTest, TheLastByteOfAnOddSizeCanBeCommitted) {
  for (uint64_t size :
       {uint64_t{1}, uint64_t{4097}, (uint64_t{2} << 20) - 1, (uint64_t{4} << 20) + 1}) {
    auto range = reserve_host_memory(size);
    ASSERT_TRUE(range->commit(size - 1, 1));
    range->address()[size - 1] = std::byte{1};
    EXPECT_EQ(range->size_bytes(), size);
  }
}

TEST(MemoryRangeTest, AddressesThatCannotBeHadAreOutOfMemory) {
  for (uint64_t size : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 62, uint64_t{1} << 58}) {
    EXPECT_ERROR(reserve_host_memory(size), OUT_OF_MEMORY, "address space");
  }
}

}  // namespace
}  // namespace kvi
