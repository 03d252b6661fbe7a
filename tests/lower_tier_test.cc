#include "cache/lower_tier.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace kvi {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr int kPageLen = 4;

// The tier's decisions alone: nothing is kept.
class NoStore final : public TierStore {
 public:
  int num_slots(int) const override { return 100; }
  bool write(SlotId, const PageRecord&, std::span<const std::byte>) noexcept override {
    return true;
  }
  bool read(SlotId, const PageRecord&, std::span<std::byte>) noexcept override { return true; }
  void discard(int, SlotId) noexcept override {}
  TierStats stats() const override { return {}; }
};

class LowerTierTest : public testing::Test {
 protected:
  static constexpr uint64_t kMostPages = 3;

  // Node i is the only child of node i - 1.
  NodeId add_node() {
    const auto id = static_cast<TokenId>(tree_.num_nodes());
    const std::vector<TokenId> tokens(kPageLen, id);
    Digest key = {};
    key[0] = static_cast<uint8_t>(id);
    last_ = tree_.add_child(last_, 0, key, tokens);
    tree_.ref(last_);
    return last_;
  }
  bool store(NodeId node, bool ok = true) {
    const SlotId slot = tier_.begin_store(node, 0, {.key = 0, .first_token = 0, .bytes = 1},
                                          Band::normal);
    if (slot == PrefixTree::kNowhere) return false;
    tier_.end_store(0, slot, ok);
    tier_.check_invariants();
    return true;
  }
  bool is_there(NodeId node) const { return tier_.is_readable(node, 0); }

  PrefixTree tree_{kPageLen, 1, Digest{}};
  NodeId last_ = PrefixTree::kRoot;
  LowerTier tier_{TierId::host,
                  std::make_shared<NoStore>(),
                  kMostPages * 100 * kPageBytes,
                  {kPageBytes},
                  "lru",
                  tree_,
                  [](NodeId) {}};
};

TEST_F(LowerTierTest, PinnedCopiesAreNotEvicted) {
  std::vector<NodeId> nodes;
  const uint64_t slot_bytes = tier_.slot_bytes(0);
  const auto room = static_cast<int>(tier_.budget_bytes() / slot_bytes);
  for (int i = 0; i < room; ++i) {
    nodes.push_back(add_node());
    ASSERT_TRUE(store(nodes.back()));
    tier_.pin(nodes.back(), 0);
  }
  EXPECT_EQ(tier_.pinned_bytes(), tier_.used_bytes());
  const NodeId one_more = add_node();
  EXPECT_FALSE(store(one_more));
  tier_.unpin(nodes[1], 0);
  EXPECT_TRUE(store(one_more));
  EXPECT_FALSE(is_there(nodes[1]));
  EXPECT_TRUE(is_there(nodes[0]));
}

TEST_F(LowerTierTest, PinsOutliveALostCopyAndHoldTheNextOne) {
  const NodeId node = add_node();
  ASSERT_TRUE(store(node));
  tier_.pin(node, 0);  // of one who suspends
  const SlotId slot = tree_.place(node, TierId::host, 0);
  tier_.begin_load(0, slot);
  tier_.end_load(0, slot, false);
  EXPECT_FALSE(is_there(node));
  EXPECT_EQ(tier_.pinned_bytes(), 0u);

  ASSERT_TRUE(store(node));
  tier_.pin(node, 0);    // of another one
  tier_.unpin(node, 0);  // the first one goes on
  EXPECT_TRUE(tier_.is_pinned(node, 0));
  EXPECT_EQ(tier_.pinned_bytes(), tier_.slot_bytes(0));
  tier_.check_invariants();
  tier_.unpin(node, 0);
  EXPECT_EQ(tier_.pinned_bytes(), 0u);
  EXPECT_THROW(tier_.unpin(node, 0), Error);
}

TEST_F(LowerTierTest, APinBeforeTheCopyCountsOnceItIsThere) {
  const NodeId node = add_node();
  tier_.pin(node, 0);
  EXPECT_EQ(tier_.pinned_bytes(), 0u);
  ASSERT_TRUE(store(node, false));
  EXPECT_FALSE(is_there(node));
  ASSERT_TRUE(store(node));
  EXPECT_EQ(tier_.pinned_bytes(), tier_.slot_bytes(0));
  tier_.unpin(node, 0);
  tier_.check_invariants();
}

}  // namespace
}  // namespace kvi
