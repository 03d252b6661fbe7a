#include "cache/eviction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>

#include "base/random.h"
#include "cache/eviction_ghosts.h"
#include "support/allocation_watch.h"
#include "support/expect_error.h"
#include "support/seed.h"

namespace kvi {
namespace {

// Distinct contents have unrelated keys, as digests do.
EvictionEntry entry_of(uint64_t content, int first_token = 0) {
  return {.key = random_bits(0, content), .first_token = first_token, .bytes = 4096};
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const EvictionPolicyName& policy : eviction_policies()) names.emplace_back(policy.name);
  return names;
}

TEST(EvictionTest, UnknownNameIsRefusedWithTheKnownOnes) {
  EXPECT_ERROR(make_eviction_policy("mru"), INVALID_ARGUMENT, "lru, lfu, combined, cost");
}

class EveryEvictionPolicyTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<EvictionPolicy> policy_ = make_eviction_policy(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Policies, EveryEvictionPolicyTest, testing::ValuesIn(policy_names()),
                         [](const auto& test) { return test.param; });

TEST_P(EveryEvictionPolicyTest, BusyEntriesAreNoVictims) {
  EXPECT_EQ(policy_->victim(), kNoEntry);
  policy_->insert(0, entry_of(0));
  EXPECT_EQ(policy_->victim(), kNoEntry);
  policy_->set_idle(0);
  EXPECT_EQ(policy_->victim(), 0);
  policy_->hit(0);
  policy_->set_busy(0);
  EXPECT_EQ(policy_->victim(), kNoEntry);
  policy_->hit(0);
  policy_->erase(0);
  EXPECT_EQ(policy_->victim(), kNoEntry);
}

// Any order of calls that the interface allows: the victim is always an idle entry, and there is one where any is.
TEST_P(EveryEvictionPolicyTest, VictimIsIdleWhateverCameBefore) {
  std::mt19937_64 random(test_seed());
  enum State { absent, busy, idle };
  std::vector<State> states(200, absent);
  for (int step = 0; step < 50000; ++step) {
    const auto id = static_cast<EntryId>(random() % states.size());
    State& state = states[id];
    switch (random() % 4) {
      case 0:
        if (state == absent) {
          policy_->insert(id, entry_of(random() % 1000, static_cast<int>(random() % 5000)));
          state = busy;
        } else if (random() % 8 == 0) {
          policy_->erase(id);
          state = absent;
        }
        break;
      case 1:
        if (state != absent) policy_->hit(id);
        break;
      case 2:
        if (state == absent) break;
        state == busy ? policy_->set_idle(id) : policy_->set_busy(id);
        state = state == busy ? idle : busy;
        break;
      default: {
        const EntryId victim = policy_->victim();
        const bool any = std::find(states.begin(), states.end(), idle) != states.end();
        ASSERT_EQ(victim != kNoEntry, any);
        if (!any) break;
        ASSERT_EQ(states[victim], idle);
        policy_->erase(victim);
        states[victim] = absent;
      }
    }
  }
}

// A tree of prefixes as a cache keeps it, under random prompts, many of which end inside others: counts how often a
// victim has children.
TEST_P(EveryEvictionPolicyTest, VictimsInATreeAreMostlyLeaves) {
  std::mt19937_64 random(test_seed());
  struct Node {
    EntryId parent;
    uint64_t content;
    int num_children = 0;
  };
  std::map<EntryId, Node> nodes;
  std::map<std::pair<EntryId, uint64_t>, EntryId> children;
  std::vector<EntryId> unused;
  constexpr int kBudget = 500;
  int num_victims = 0, num_inner = 0;
  for (int prompt = 0; prompt < 3000; ++prompt) {
    std::vector<EntryId> path;
    const int depth = 1 + static_cast<int>(random() % 20);
    const uint64_t family = std::min(random() % 50, random() % 50);
    uint64_t content = family;
    for (int i = 0; i < depth; ++i) {
      if (random() % 8 == 0) content = content * 3 + random() % 3;  // branches
      content = content * 1000003 + 1;
      const EntryId parent = path.empty() ? kNoEntry : path.back();
      const auto found = children.find({parent, content});
      if (found != children.end()) {
        path.push_back(found->second);
        policy_->hit(found->second);
        policy_->set_busy(found->second);
        continue;
      }
      EntryId id = static_cast<EntryId>(nodes.size());
      if (!unused.empty()) {
        id = unused.back();
        unused.pop_back();
      }
      nodes[id] = {parent, content};
      if (parent != kNoEntry) ++nodes[parent].num_children;
      children[{parent, content}] = id;
      policy_->insert(id, entry_of(content, 16 * i));
      path.push_back(id);
    }
    for (auto id = path.rbegin(); id != path.rend(); ++id) policy_->set_idle(*id);
    while (children.size() > kBudget) {
      EntryId id = policy_->victim();
      ASSERT_NE(id, kNoEntry);
      ++num_victims;
      if (nodes[id].num_children > 0) ++num_inner;
      while (nodes[id].num_children > 0) {
        const auto below = std::find_if(children.begin(), children.end(),
                                        [&](const auto& child) { return child.first.first == id; });
        id = below->second;
      }
      policy_->erase(id);
      const Node node = nodes[id];
      if (node.parent != kNoEntry) --nodes[node.parent].num_children;
      children.erase({node.parent, node.content});
      unused.push_back(id);
    }
  }
  ASSERT_GT(num_victims, 1000);
  if (GetParam() == "lru" || GetParam() == "lfu") {
    EXPECT_EQ(num_inner, 0);
  }
  EXPECT_LT(num_inner, num_victims / 4) << "of " << num_victims;
}

// Work in a fixed number of steps allocates nothing, once the tables hold as many entries as there ever are.
TEST_P(EveryEvictionPolicyTest, NothingIsAllocatedOnceItHasGrown) {
  constexpr int kEntries = 4096;
  uint64_t content = 0;
  for (EntryId id = 0; id < kEntries; ++id) {
    policy_->insert(id, entry_of(content++));
    policy_->set_idle(id);
  }
  const auto cycle = [&](const EvictionEntry& entry) {
    const EntryId id = policy_->victim();
    policy_->erase(id);
    policy_->insert(id, entry);
    policy_->hit(id);
    policy_->set_idle(id);
  };
  cycle(entry_of(content++));
  const uint64_t before = num_allocations();
  for (int i = 0; i < 10 * kEntries; ++i) {
    cycle({.key = (content + i) * 0x9e3779b97f4a7c15, .first_token = 0, .bytes = 4096});
  }
  EXPECT_EQ(num_allocations() - before, 0u);
}

// The oldest is the last of the list.
class NaiveLru {
 public:
  void touch(EntryId id) {
    remove(id);
    order_.push_front(id);
  }
  void remove(EntryId id) { order_.remove(id); }
  EntryId victim() const { return order_.empty() ? kNoEntry : order_.back(); }

 private:
  std::list<EntryId> order_;
};

TEST(LruEvictionTest, ChoosesAsANaiveListDoes) {
  std::mt19937_64 random(test_seed());
  const auto policy = make_eviction_policy("lru");
  NaiveLru naive;
  std::set<EntryId> present, idle;
  for (int step = 0; step < 20000; ++step) {
    const auto id = static_cast<EntryId>(random() % 64);
    if (!present.contains(id)) {
      policy->insert(id, entry_of(random()));
      present.insert(id);
    } else if (!idle.contains(id)) {
      if (random() % 4 == 0) policy->hit(id);
      policy->set_idle(id);
      naive.touch(id);
      idle.insert(id);
    } else if (random() % 3 == 0) {
      policy->set_busy(id);
      naive.remove(id);
      idle.erase(id);
    } else if (random() % 2 == 0) {
      policy->hit(id);
      naive.touch(id);
    } else {
      const EntryId victim = policy->victim();
      policy->erase(victim);
      naive.remove(victim);
      idle.erase(victim);
      present.erase(victim);
    }
    ASSERT_EQ(policy->victim(), naive.victim()) << "at step " << step;
  }
}

TEST(LruEvictionTest, FirstPageOfAPromptIsTheLastToGo) {
  const auto policy = make_eviction_policy("lru");
  for (EntryId id : {0, 1, 2}) policy->insert(id, entry_of(id, 16 * id));
  for (EntryId id : {2, 1, 0}) policy->set_idle(id);
  for (EntryId id : {2, 1, 0}) {
    EXPECT_EQ(policy->victim(), id);
    policy->erase(id);
  }
}

TEST(LfuEvictionTest, FewestHitsGoFirstAndOfThoseTheLeastRecent) {
  const auto policy = make_eviction_policy("lfu");
  for (EntryId id : {0, 1, 2, 3}) {
    policy->insert(id, entry_of(id));
    policy->set_idle(id);
  }
  for (int i = 0; i < 1000; ++i) policy->hit(0);  // beyond where counts end
  policy->hit(2);
  policy->hit(1);
  for (EntryId id : {3, 2, 1, 0}) {
    EXPECT_EQ(policy->victim(), id);
    policy->erase(id);
  }
}

TEST(LfuEvictionTest, CountStartsAnewAfterEviction) {
  const auto policy = make_eviction_policy("lfu");
  policy->insert(0, entry_of(0));
  policy->set_idle(0);
  policy->hit(0);
  policy->hit(0);
  policy->erase(0);
  policy->insert(0, entry_of(0));
  policy->set_idle(0);
  policy->insert(1, entry_of(1));
  policy->set_idle(1);
  policy->hit(1);
  EXPECT_EQ(policy->victim(), 0);
}

// Single pages under a budget: 64 hot ones, asked for in turn at random, and in a scan, for each of these, many that never
// come again. Returns the share of hot requests that hit, after as long a warm-up.
double hot_hit_rate(std::string_view name, int num_scanned_for_each, uint64_t seed) {
  constexpr int kHot = 64, kBudget = 256, kRequests = 20000;
  std::mt19937_64 random(seed);
  const auto policy = make_eviction_policy(name);
  std::map<uint64_t, EntryId> cached;
  std::vector<uint64_t> content_of(kBudget + 1);
  std::vector<EntryId> unused;
  for (EntryId id = 0; id <= kBudget; ++id) unused.push_back(id);
  const auto request = [&](uint64_t content) {
    const auto found = cached.find(content);
    const bool hit = found != cached.end();
    EntryId id = kNoEntry;
    if (hit) {
      id = found->second;
      policy->hit(id);
      policy->set_busy(id);
    } else {
      id = unused.back();
      unused.pop_back();
      content_of[id] = content;
      cached[content] = id;
      policy->insert(id, entry_of(content));
    }
    policy->set_idle(id);
    if (cached.size() > kBudget) {
      const EntryId victim = policy->victim();
      policy->erase(victim);
      cached.erase(content_of[victim]);
      unused.push_back(victim);
    }
    return hit;
  };
  uint64_t never_again = 1000;
  int num_hits = 0;
  for (int i = 0; i < kRequests; ++i) {
    const bool hit = request(random() % kHot);
    if (i >= kRequests / 2 && hit) ++num_hits;
    for (int j = 0; j < num_scanned_for_each; ++j) request(never_again++);
  }
  return 2.0 * num_hits / kRequests;
}

TEST(EvictionScanTest, LruLosesWhatIsHotToAScan) {
  const uint64_t seed = test_seed();
  EXPECT_GT(hot_hit_rate("lru", 0, seed), 0.99);
  EXPECT_LT(hot_hit_rate("lru", 20, seed), 0.35);
}

TEST(EvictionScanTest, CombinedAndCostKeepWhatIsHotThroughAScan) {
  const uint64_t seed = test_seed();
  for (const char* name : {"combined", "cost"}) {
    EXPECT_GT(hot_hit_rate(name, 0, seed), 0.99) << name;
    EXPECT_GT(hot_hit_rate(name, 20, seed), 0.9) << name;
  }
}

TEST(EvictionGhostsTest, RemembersTheLatestAndNoMoreThanItsBound) {
  std::mt19937_64 random(test_seed());
  EvictionGhosts ghosts;
  EXPECT_FALSE(ghosts.take(1));
  ghosts.reserve(10);
  std::vector<uint64_t> keys;
  for (uint32_t i = 0; i < 10000; ++i) {
    keys.push_back(random());
    ghosts.put(keys.back(), {.used = i, .hits = 7, .group = 3});
    if (i == 5000) ghosts.reserve(20);  // keeps them
  }
  EXPECT_LE(ghosts.num_slots(), 20 * 8);
  for (int i = 0; i < 20 * 4; ++i) {
    const auto ghost = ghosts.take(keys[9999 - i]);
    ASSERT_TRUE(ghost);
    EXPECT_EQ(ghost->used, 9999u - i);
    EXPECT_EQ(ghost->hits, 7);
    EXPECT_FALSE(ghosts.take(keys[9999 - i]));  // forgotten
  }
  EXPECT_FALSE(ghosts.take(keys[0]));
}

}  // namespace
}  // namespace kvi
