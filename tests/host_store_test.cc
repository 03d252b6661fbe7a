#include "cache/host_store.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/error.h"
#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tier_pages.h"

namespace kvi {
namespace {

constexpr uint64_t kPageBytes[] = {10'000, 3 * 4096};

std::vector<TierGroup> two_groups() { return {{kPageBytes[0], 16}, {kPageBytes[1], 16}}; }

bool put(HostStore& store, SlotId slot, const TestPage& page) {
  const PageRecord record = page.record();
  return store.write(slot, record, page.bytes(kPageBytes[record.group]));
}

bool holds(HostStore& store, SlotId slot, const TestPage& page) {
  const PageRecord record = page.record();
  std::vector<std::byte> bytes(kPageBytes[record.group]);
  if (!store.read(slot, record, bytes)) return false;
  EXPECT_EQ(bytes, page.bytes(bytes.size())) << "slot " << slot;
  return true;
}

TEST(HostStoreTest, PagesComeBackAsTheyWereWritten) {
  HostStore store(two_groups(), 1 << 20, reserve_host_memory);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(put(store, i, TestPage(i, 0)));
    ASSERT_TRUE(put(store, i, TestPage(i, 1)));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(holds(store, i, TestPage(i, 0)));
    EXPECT_TRUE(holds(store, i, TestPage(i, 1)));
  }
  const TierStats stats = store.stats();
  EXPECT_EQ(stats.num_written, 40u);
  EXPECT_EQ(stats.bytes_read, 20 * (kPageBytes[0] + kPageBytes[1]));
  EXPECT_EQ(stats.used_bytes, 20 * (kPageBytes[0] + kPageBytes[1]));
}

TEST(HostStoreTest, AnyOtherRecordIsAMiss) {
  HostStore store(two_groups(), 1 << 20, reserve_host_memory);
  const TestPage page(7);
  ASSERT_TRUE(put(store, 3, page));
  std::vector<std::byte> bytes(kPageBytes[0]);
  const PageRecord right = page.record();
  std::vector<int32_t> tokens(right.tokens.begin(), right.tokens.end());
  ++tokens.back();

  std::vector<PageRecord> wrong(7, right);
  wrong[0].key[31] ^= 1;
  wrong[1].parent[0] ^= 1;
  wrong[2].scope[5] ^= 1;
  wrong[3].group = 1;
  wrong[4].first_token += 16;
  wrong[5].tokens = tokens;
  wrong[6].tokens = right.tokens.first(right.tokens.size() - 1);
  for (const PageRecord& record : wrong) EXPECT_FALSE(store.read(3, record, bytes));
  for (SlotId slot : {-1, 2, 4, 1 << 20}) EXPECT_FALSE(store.read(slot, right, bytes));
  EXPECT_FALSE(store.read(3, right, std::span(bytes).first(100)));
  EXPECT_EQ(store.stats().num_mismatches, 12u);
  EXPECT_TRUE(holds(store, 3, page));
}

TEST(HostStoreTest, ABudgetHoldsAPageOfEachGroup) {
  uint64_t least = 0;
  for (const TierGroup& group : two_groups()) least += group.page_bytes;
  EXPECT_ERROR(HostStore(two_groups(), least - 1, reserve_host_memory), INVALID_ARGUMENT,
               "too small for one page of each layer group");
  HostStore store(two_groups(), least, reserve_host_memory);
  EXPECT_GE(store.num_slots(0), 1);
  EXPECT_GE(store.num_slots(1), 1);
}

TEST(HostStoreTest, BudgetsBeyondAllAddressesAreOutOfMemory) {
  EXPECT_ERROR(HostStore({{1 << 20, 16}}, ~uint64_t{0}, reserve_host_memory), OUT_OF_MEMORY,
               "address space");
}

// A range that refuses after some commits, and knows what is committed.
class LimitedRange final : public MemoryRange {
 public:
  LimitedRange(uint64_t num_bytes, int* commits_left)
      : under_(reserve_host_memory(num_bytes)), commits_left_(commits_left) {}
  std::byte* address() const override { return under_->address(); }
  uint64_t size_bytes() const override { return under_->size_bytes(); }
  uint64_t granule_bytes() const override { return under_->granule_bytes(); }
  bool commit(uint64_t offset, uint64_t num_bytes) override {
    return (*commits_left_)-- > 0 && under_->commit(offset, num_bytes);
  }
  void decommit(uint64_t offset, uint64_t num_bytes) override {
    under_->decommit(offset, num_bytes);
  }

 private:
  std::unique_ptr<MemoryRange> under_;
  int* commits_left_;
};

TEST(HostStoreTest, MemoryThatTheSystemRefusesIsARefusedWrite) {
  int commits_left = 2;
  HostStore store(two_groups(), 1 << 20, [&](uint64_t num_bytes) {
    return std::make_unique<LimitedRange>(num_bytes, &commits_left);
  });
  EXPECT_TRUE(put(store, 0, TestPage(0)));
  EXPECT_TRUE(put(store, 1, TestPage(1)));
  EXPECT_FALSE(put(store, 2, TestPage(2)));
  EXPECT_TRUE(put(store, 1, TestPage(3)));
  EXPECT_EQ(store.stats().used_bytes, 2 * kPageBytes[0]);
  EXPECT_EQ(store.resident_bytes(), 2 * kPageBytes[0]);
  EXPECT_FALSE(holds(store, 2, TestPage(2)));
  EXPECT_TRUE(holds(store, 0, TestPage(0)));
  EXPECT_TRUE(holds(store, 1, TestPage(3)));
}

// Against a model that is a map: what is there comes back, what does not fit is refused, and memory stays
// within the budget while pages of two sizes, one of them no multiple of the system's page, come and go.
TEST(HostStoreTest, RandomUseAgreesWithAMapAndStaysWithinTheBudget) {
  std::mt19937_64 random(test_seed());
  const uint64_t budget = 150'000;
  HostStore store(two_groups(), budget, reserve_host_memory);
  std::map<std::pair<int, SlotId>, uint64_t> model;
  uint64_t used = 0;
  for (uint64_t step = 0; step < 20'000; ++step) {
    const int group = static_cast<int>(random() % 2);
    const SlotId slot = static_cast<SlotId>(random() % (store.num_slots(group) + 1));
    const auto at = model.find({group, slot});
    const bool is_slot = slot < store.num_slots(group);
    switch (random() % 3) {
      case 0: {
        const bool fits = at != model.end() || used + kPageBytes[group] <= budget;
        ASSERT_EQ(put(store, slot, TestPage(step, group)), fits && is_slot);
        if (!fits || !is_slot) break;
        if (at == model.end()) used += kPageBytes[group];
        model[{group, slot}] = step;
        break;
      }
      case 1:
        store.discard(group, slot);
        if (at == model.end()) break;
        used -= kPageBytes[group];
        model.erase(at);
        break;
      default:
        ASSERT_EQ(holds(store, slot, TestPage(at == model.end() ? step : at->second, group)),
                  at != model.end());
    }
    ASSERT_EQ(store.stats().used_bytes, used);
    ASSERT_LE(store.resident_bytes(), budget);
    ASSERT_GE(store.resident_bytes(), used);
  }
  for (const auto& [place, number] : model) {
    EXPECT_TRUE(holds(store, place.second, TestPage(number, place.first)));
  }
}

}  // namespace
}  // namespace kvi
