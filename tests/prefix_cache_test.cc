#include "cache/prefix_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "cache/cache_manager.h"
#include "support/seed.h"

namespace kvi {
namespace {

constexpr int kPageLen = 4;
constexpr uint64_t kPageBytes = 4096;

PageLayout layout() {
  PageLayout layout;
  layout.page_len = kPageLen;
  layout.page_bytes = kPageBytes;
  return layout;
}

// Slots in memory; a read fails where the record is another, or where a fault was asked for.
class MemoryStore final : public TierStore {
 public:
  int num_slots(int) const override { return 1 << 20; }
  bool write(SlotId slot, const PageRecord& record,
             std::span<const std::byte> page) noexcept override {
    slots_[{record.group, slot}] = {record.key, {page.begin(), page.end()}};
    return true;
  }
  bool read(SlotId slot, const PageRecord& expected, std::span<std::byte> page) noexcept override {
    const auto found = slots_.find({expected.group, slot});
    if (found == slots_.end() || found->second.key != expected.key) return false;
    std::memcpy(page.data(), found->second.bytes.data(), page.size());
    return true;
  }
  void discard(int group, SlotId slot) noexcept override { slots_.erase({group, slot}); }
  TierStats stats() const override { return {}; }

 private:
  struct Slot {
    Digest key;
    std::vector<std::byte> bytes;
  };
  std::map<std::pair<int, SlotId>, Slot> slots_;
};

// Sequences over a few tokens, so that they share much. What a slot must hold follows from the scope and all
// tokens up to it: so a page that is reused where it must not be is seen.
class World {
 public:
  struct Sequence {
    SequencePages pages;
    std::vector<TokenId> tokens;
    int tenant;
  };

  World(uint64_t seed, int window, uint64_t num_pages, uint64_t host_pages, bool caching = true)
      : random_(seed) {
    CacheOptions options;
    options.budget_bytes = num_pages * kPageBytes;
    options.range_bytes = 2 * options.budget_bytes;
    options.eviction_policy = "lru";
    options.prefix_caching = caching;
    if (host_pages > 0) {
      store_ = std::make_shared<MemoryStore>();
      options.host = store_;
      options.host_bytes = host_pages * kPageBytes;
    }
    std::vector<LayerGroup> groups = {{layout(), 0}};
    if (window > 0) groups.push_back({layout(), window});
    cache_ = std::make_unique<CacheManager>(groups, options, reserve_host_memory);
    window_ = window;
  }

  Sequence make(int tenant) {
    Sequence sequence;
    sequence.tenant = tenant;
    const int scope = cache_->prefixes().scope_of_tenant(std::to_string(tenant));
    sequence.pages = cache_->make_sequence(scope);
    return sequence;
  }

  void append(Sequence& sequence, int count) {
    for (int i = 0; i < count; ++i) sequence.tokens.push_back(static_cast<TokenId>(random_() % 2));
  }

  // Reuses what it can, and computes the rest in chunks. False: no room.
  bool compute(Sequence& sequence) {
    std::vector<PageCopy> copies;
    const int limit = static_cast<int>(sequence.tokens.size()) - 1;
    const int before = sequence.pages.num_tokens;
    cache_->attach(sequence.pages, sequence.tokens, limit, copies);
    make(copies);
    while (!cache_->is_ready(sequence.pages)) make_moves(1 << 20, 0);
    num_reused_ += std::max(0, sequence.pages.num_tokens - before);
    check(sequence);
    while (sequence.pages.num_tokens < static_cast<int>(sequence.tokens.size())) {
      const int left = static_cast<int>(sequence.tokens.size()) - sequence.pages.num_tokens;
      const int count = std::min<int>(left, 1 + static_cast<int>(random_() % 9));
      copies.clear();
      if (!cache_->reserve(sequence.pages, count, copies)) return false;
      make(copies);
      for (int i = 0; i < count; ++i) write(sequence, sequence.pages.num_tokens + i);
      cache_->commit(sequence.pages, count, sequence.tokens);
    }
    check(sequence);
    return true;
  }

  void make(const std::vector<PageCopy>& copies) {
    for (const PageCopy& copy : copies) {
      std::byte* to = cache_->pages(copy.group) + copy.to * static_cast<int64_t>(kPageBytes);
      if (copy.from == kNoPage) {
        std::memset(to, 0, kPageBytes);
      } else {
        std::memcpy(to, cache_->pages(copy.group) + copy.from * static_cast<int64_t>(kPageBytes),
                    kPageBytes);
      }
    }
    cache_->finish_copies(copies);
  }

  // Of the planned moves, in order; one in `failing` fails.
  void make_moves(size_t count, int failing) {
    for (const PageMove& move : cache_->prefixes().take_moves(count)) {
      std::byte* page = cache_->pages(move.group) + move.page * static_cast<int64_t>(kPageBytes);
      bool ok = failing == 0 || random_() % static_cast<uint64_t>(failing) != 0;
      if (move.kind == MoveKind::discard) {
        store_->discard(move.group, move.slot);
      } else if (move.kind == MoveKind::store) {
        ok = ok && store_->write(move.slot, move.record, {page, kPageBytes});
      } else {
        if (!ok) std::memset(page, 0x55, kPageBytes);
        ok = ok && store_->read(move.slot, move.record, {page, kPageBytes});
      }
      cache_->prefixes().complete(move.id, ok);
    }
  }

  uint64_t expected(const Sequence& sequence, int position) const {
    uint64_t hash = static_cast<uint64_t>(sequence.tenant) + 1;
    for (int i = 0; i <= position; ++i) {
      hash = (hash ^ static_cast<uint64_t>(sequence.tokens[i] + 1)) * 0x9e3779b97f4a7c15;
      hash ^= hash >> 31;
    }
    return hash;
  }
  uint64_t* slot(const Sequence& sequence, int group, int position) const {
    const PageId page = sequence.pages.tables[group][position / kPageLen];
    EXPECT_NE(page, kNoPage);
    return reinterpret_cast<uint64_t*>(cache_->pages(group) +
                                       page * static_cast<int64_t>(kPageBytes)) +
           position % kPageLen;
  }
  void write(Sequence& sequence, int position) {
    for (int g = 0; g < static_cast<int>(cache_->groups().size()); ++g)
      *slot(sequence, g, position) = expected(sequence, position);
  }
  void check(const Sequence& sequence) const {
    const int n = sequence.pages.num_tokens;
    for (int position = 0; position < n; ++position) {
      ASSERT_EQ(*slot(sequence, 0, position), expected(sequence, position)) << position;
      if (window_ > 0 && position > n - window_) {
        ASSERT_EQ(*slot(sequence, 1, position), expected(sequence, position)) << position;
      }
    }
  }

  CacheManager& cache() { return *cache_; }
  uint64_t num_reused() const { return num_reused_; }
  std::mt19937_64& random() { return random_; }

 private:
  std::mt19937_64 random_;
  std::shared_ptr<MemoryStore> store_;
  std::unique_ptr<CacheManager> cache_;
  int window_ = 0;
  uint64_t num_reused_ = 0;
};

TEST(PrefixCacheTest, SecondPromptReusesAllButItsLastToken) {
  World world(1, 0, 100, 0);
  World::Sequence first = world.make(1), second = world.make(1);
  world.append(first, 40);
  second.tokens = first.tokens;
  ASSERT_TRUE(world.compute(first));
  std::vector<PageCopy> copies;
  world.cache().attach(second.pages, second.tokens, 39, copies);
  // Nine whole pages, and three tokens of the tenth by a copy of it.
  EXPECT_EQ(second.pages.num_tokens, 39);
  EXPECT_EQ(copies.size(), 1u);
  world.make(copies);
  world.check(second);
  EXPECT_EQ(world.cache().used_bytes(), 11 * kPageBytes);
  world.cache().release(first.pages);
  world.cache().release(second.pages);
  EXPECT_EQ(world.cache().used_bytes(), 0u);
  world.cache().check_invariants();
}

TEST(PrefixCacheTest, TenantsShareOnlyWhatTheOperatorShares) {
  World world(2, 0, 100, 0);
  World::Sequence one = world.make(1), other = world.make(2);
  world.append(one, 20);
  other.tokens = one.tokens;
  ASSERT_TRUE(world.compute(one));
  std::vector<PageCopy> copies;
  world.cache().attach(other.pages, other.tokens, 19, copies);
  EXPECT_EQ(other.pages.num_tokens, 0);

  SequencePages shared = world.cache().make_sequence(kSharedScopeId);
  ASSERT_TRUE(world.cache().reserve(shared, 12, copies));
  world.cache().commit(shared, 12, std::span(one.tokens).first(12));
  world.cache().attach(other.pages, other.tokens, 19, copies);
  EXPECT_EQ(other.pages.num_tokens, 12);
  other.pages.reads_shared = false;
  world.cache().release(other.pages);
  world.cache().attach(other.pages, other.tokens, 19, copies);
  EXPECT_EQ(other.pages.num_tokens, 0);
  for (SequencePages* pages : {&one.pages, &other.pages, &shared}) world.cache().release(*pages);
  world.cache().check_invariants();
}

TEST(PrefixCacheTest, SlidOutWindowPagesServeAShorterPrefix) {
  World world(3, 16, 1000, 0);
  World::Sequence longer = world.make(1), shorter = world.make(1);
  world.append(longer, 200);
  ASSERT_TRUE(world.compute(longer));
  shorter.tokens.assign(longer.tokens.begin(), longer.tokens.begin() + 100);
  shorter.tokens.push_back(1 - longer.tokens[100]);
  ASSERT_TRUE(world.compute(shorter));
  EXPECT_EQ(world.num_reused(), 100u);
  for (auto* s : {&longer, &shorter}) world.cache().release(s->pages);
  world.cache().check_invariants();
}

TEST(PrefixCacheTest, ParkedTailIsFoundToTheToken) {
  World world(4, 0, 100, 0);
  World::Sequence first = world.make(1), second = world.make(1);
  world.append(first, 11);
  ASSERT_TRUE(world.compute(first));
  world.cache().park(first.pages);
  second.tokens = first.tokens;
  world.append(second, 5);
  ASSERT_TRUE(world.compute(second));
  EXPECT_EQ(world.num_reused(), 11u);
  world.cache().release(second.pages);
}

TEST(PrefixCacheTest, SuspendedSequenceComesBackFromTheHost) {
  for (int window : {0, 8}) {
    World world(5, window, 40, 40);
    World::Sequence first = world.make(1), flood = world.make(1);
    world.append(first, 50);
    ASSERT_TRUE(world.compute(first));
    uint64_t needed = 0;
    ASSERT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
    EXPECT_EQ(world.cache().used_bytes(), 0u);
    world.make_moves(100, 0);
    world.cache().prefixes().trim(UINT64_MAX);  // nothing of it is left on the device
    EXPECT_EQ(world.cache().mapped_bytes(), 0u);
    const uint64_t before = world.num_reused();
    world.append(first, 2);
    ASSERT_TRUE(world.compute(first));
    EXPECT_EQ(world.num_reused() - before, 50u);
    world.cache().release(first.pages);
    world.cache().check_invariants();
  }
}

TEST(PrefixCacheTest, PagesThatAreBeingCopiedAreDeferredAndNotTrimmed) {
  World world(5, 0, 40, 40);
  World::Sequence first = world.make(1);
  world.append(first, 50);
  ASSERT_TRUE(world.compute(first));
  const DevicePages& pages = world.cache().prefixes().pages();
  world.cache().prefixes().trim(UINT64_MAX);  // what lies free on no granule of theirs
  const uint64_t used = pages.used_bytes();
  uint64_t needed = 0;
  ASSERT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
  EXPECT_EQ(pages.bytes_in_class(PageClass::deferred), used);
  EXPECT_EQ(pages.bytes_in_class(PageClass::cached), 0u);
  EXPECT_EQ(world.cache().prefixes().trim(UINT64_MAX), 0u);
  world.cache().check_invariants();
  world.make_moves(100, 0);
  EXPECT_EQ(pages.bytes_in_class(PageClass::deferred), 0u);
  EXPECT_EQ(pages.bytes_in_class(PageClass::cached), used);
  EXPECT_GT(world.cache().prefixes().trim(UINT64_MAX), 0u);
  EXPECT_EQ(pages.mapped_bytes(), 0u);
  world.cache().release(first.pages);
}

TEST(PrefixCacheTest, LostCopyIsComputedAgain) {
  World world(6, 0, 40, 40);
  World::Sequence first = world.make(1);
  world.append(first, 50);
  ASSERT_TRUE(world.compute(first));
  uint64_t needed = 0;
  ASSERT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
  world.make_moves(100, 1);  // every write fails
  world.cache().prefixes().trim(UINT64_MAX);
  world.append(first, 2);
  ASSERT_TRUE(world.compute(first));
  EXPECT_EQ(world.num_reused(), 0u);
  world.cache().release(first.pages);
  world.cache().check_invariants();
}

TEST(PrefixCacheTest, WriteThroughEndsWhereTheTierIsSmallOrRefuses) {
  for (int failing : {0, 1}) {
    World world(8, 0, 40, 10);
    World::Sequence sequence = world.make(1);
    world.append(sequence, 100);
    ASSERT_TRUE(world.compute(sequence));
    world.cache().release(sequence.pages);
    for (int round = 0; round < 20; ++round) world.make_moves(100, failing);
    const CacheStats stats = world.cache().prefixes().stats();
    EXPECT_TRUE(world.cache().prefixes().take_moves(100).empty());
    EXPECT_LE(stats.stored_bytes[1] + stats.failed_moves * kPageBytes, 25 * kPageBytes);
    EXPECT_EQ(stats.failed_moves > 0, failing == 1);
    world.cache().check_invariants();
  }
}

TEST(PrefixCacheTest, FloodOfOneTenantLeavesTheOthersTheirShare) {
  World world(7, 0, 100, 0);
  World::Sequence quiet = world.make(1);
  world.append(quiet, 80);
  ASSERT_TRUE(world.compute(quiet));
  world.cache().park(quiet.pages);
  for (int i = 0; i < 50; ++i) {
    World::Sequence flood = world.make(2);
    world.append(flood, 60);
    ASSERT_TRUE(world.compute(flood));
    world.cache().park(flood.pages);
  }
  const uint64_t before = world.num_reused();
  ASSERT_TRUE(world.compute(quiet));
  EXPECT_EQ(world.num_reused() - before, 79u);
  world.cache().release(quiet.pages);
}

TEST(PrefixCacheTest, RefusedCopyIsNotTriedAgainAtOnce) {
  CacheOptions options;
  options.budget_bytes = 100 * kPageBytes;
  options.eviction_policy = "lru";
  options.host = std::make_shared<MemoryStore>();
  options.disk = std::make_shared<MemoryStore>();
  options.host_bytes = options.disk_bytes = 3 * kPageBytes;
  CacheManager cache({{layout(), 0}}, options, reserve_host_memory);
  std::vector<PageCopy> copies;
  const std::vector<TokenId> tokens(40, 1);
  SequencePages pages = cache.make_sequence();
  ASSERT_TRUE(cache.reserve(pages, 40, copies));
  cache.commit(pages, 40, tokens);
  cache.park(pages);
  int num_moves = 0;
  for (int round = 0; round < 100; ++round) {
    for (const PageMove& move : cache.prefixes().take_moves(SIZE_MAX)) {
      ++num_moves;
      cache.prefixes().complete(move.id, false);
    }
  }
  EXPECT_GE(num_moves, 6);
  EXPECT_LE(num_moves, 40);  // each page at most once into each tier, and out again
  cache.check_invariants();
}

TEST(PrefixCacheTest, EvictionLeavesWhatIsSuspended) {
  World world(8, 0, 40, 40);
  World::Sequence first = world.make(1);
  world.append(first, 50);
  ASSERT_TRUE(world.compute(first));
  uint64_t needed = 0;
  ASSERT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
  world.make_moves(100, 0);
  for (const NodeId node : first.pages.pinned) world.cache().prefixes().evict(node);
  world.append(first, 2);
  const uint64_t before = world.num_reused();
  ASSERT_TRUE(world.compute(first));
  EXPECT_EQ(world.num_reused() - before, 50u);
  world.cache().release(first.pages);
  world.cache().check_invariants();
}

// The longer one's window has left the pages that the shorter one needs.
TEST(PrefixCacheTest, ALongSequenceGivesUpNoPinsOfAShortOne) {
  World world(9, 16, 60, 60);
  World::Sequence first = world.make(1);
  world.append(first, 16);
  ASSERT_TRUE(world.compute(first));
  World::Sequence second = first;
  second.pages = world.cache().fork(first.pages);
  world.append(second, 40);
  ASSERT_TRUE(world.compute(second));
  uint64_t needed = 0;
  for (World::Sequence* s : {&first, &second}) {
    ASSERT_TRUE(world.cache().suspend(s->pages, s->tokens, TierId::host, &needed));
  }
  world.make_moves(100, 0);
  const std::vector<NodeId> pinned = first.pages.pinned;
  world.cache().release(second.pages);
  const LowerTier& host = *world.cache().prefixes().tier(TierId::host);
  for (const NodeId node : pinned) EXPECT_TRUE(host.is_pinned(node, 1)) << node;
  world.cache().release(first.pages);
  EXPECT_EQ(host.pinned_bytes(), 0u);
  world.cache().check_invariants();
}

TEST(PrefixCacheTest, ForksOfASequenceThatDoesNotShareAreBothSuspended) {
  World world(11, 0, 40, 40);
  World::Sequence first = world.make(1);
  first.pages.is_indexed = false;
  world.append(first, 24);
  ASSERT_TRUE(world.compute(first));
  World::Sequence second = first;
  second.pages = world.cache().fork(first.pages);
  uint64_t needed = 0;
  for (World::Sequence* s : {&first, &second}) {
    EXPECT_TRUE(world.cache().suspend(s->pages, s->tokens, TierId::host, &needed));
  }
  for (World::Sequence* s : {&first, &second}) world.cache().release(s->pages);
  world.make_moves(100, 0);
  world.cache().check_invariants();
}

// As a cancelled request leaves it.
TEST(PrefixCacheTest, SequenceThatIsBeingLoadedCanBeTruncatedAndSuspended) {
  for (int kept : {50, 20, 0}) {
    World world(9, 0, 40, 60);
    World::Sequence first = world.make(1);
    world.append(first, 50);
    ASSERT_TRUE(world.compute(first));
    uint64_t needed = 0;
    ASSERT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
    world.make_moves(100, 0);
    world.cache().prefixes().trim(UINT64_MAX);
    std::vector<PageCopy> copies;
    world.cache().attach(first.pages, first.tokens, 49, copies);
    world.make(copies);
    ASSERT_FALSE(first.pages.loading.empty());
    first.tokens.resize(static_cast<size_t>(kept));
    world.cache().truncate(first.pages, kept);
    for (const PageInTable& l : first.pages.loading) {
      EXPECT_LT(l.index, static_cast<int>(first.pages.tables[l.group].size()));
    }
    EXPECT_TRUE(world.cache().suspend(first.pages, first.tokens, TierId::host, &needed));
    world.make_moves(100, 0);
    world.append(first, 2);
    ASSERT_TRUE(world.compute(first));
    world.cache().release(first.pages);
    world.cache().check_invariants();
  }
}

TEST(PrefixCacheTest, PartialPageIsNotCopiedBeforeItHasCome) {
  World world(10, 0, 40, 60);
  World::Sequence first = world.make(1), second = world.make(1), third = world.make(1);
  world.append(first, 24);
  ASSERT_TRUE(world.compute(first));
  world.cache().park(first.pages);
  while (world.cache().prefixes().num_moves() > 0 || world.cache().prefixes().has_planned_moves())
    world.make_moves(100, 0);
  world.make_moves(100, 0);
  world.cache().prefixes().trim(UINT64_MAX);
  second.tokens = third.tokens = first.tokens;
  std::vector<PageCopy> copies;
  world.cache().attach(second.pages, second.tokens, 24, copies);  // its pages are on their way
  ASSERT_FALSE(second.pages.loading.empty());
  world.cache().attach(third.pages, third.tokens, 22, copies);
  for (const PageCopy& copy : copies) EXPECT_EQ(copy.from, kNoPage);
  world.make(copies);
  world.make_moves(100, 0);
  for (World::Sequence* s : {&second, &third}) {
    ASSERT_TRUE(world.cache().is_ready(s->pages));
    world.check(*s);
    world.cache().release(s->pages);
  }
}

struct WorldCase {
  int window;
  int host_pages;
};
void PrintTo(const WorldCase& world, std::ostream* out) {
  *out << "window " << world.window << ", host " << world.host_pages;
}
class RandomWorldTest : public testing::TestWithParam<WorldCase> {};
INSTANTIATE_TEST_SUITE_P(Worlds, RandomWorldTest,
                         testing::Values(WorldCase{0, 0}, WorldCase{0, 30}, WorldCase{10, 0},
                                         WorldCase{10, 50}));

TEST_P(RandomWorldTest, EverySequenceReadsWhatItsTokensSay) {
  const uint64_t seed = test_seed();
  World world(seed, GetParam().window, 60, GetParam().host_pages);
  CacheManager& cache = world.cache();
  std::vector<World::Sequence> sequences;
  int refused = 0, suspended = 0;
  for (int step = 0; step < 6000 && !testing::Test::HasFatalFailure(); ++step) {
    const int choice = static_cast<int>(world.random()() % 14);
    if (sequences.empty() || (choice == 0 && sequences.size() < 10)) {
      sequences.push_back(world.make(static_cast<int>(world.random()() % 3)));
      world.append(sequences.back(), 1);
      continue;
    }
    World::Sequence& chosen = sequences[world.random()() % sequences.size()];
    if (choice <= 5) {
      if (chosen.tokens.size() < 120)
        world.append(chosen, 1 + static_cast<int>(world.random()() % 30));
      if (!world.compute(chosen)) {
        ++refused;
        cache.park(chosen.pages);
      }
    } else if (choice == 6) {
      const auto length = world.random()() % chosen.tokens.size() + 1;
      chosen.tokens.resize(length);
      cache.truncate(chosen.pages, static_cast<int>(length));
    } else if (choice == 7 && sequences.size() < 10) {
      World::Sequence copy = chosen;
      copy.pages = cache.fork(chosen.pages);
      sequences.push_back(std::move(copy));
    } else if (choice == 8) {
      cache.release(chosen.pages);
      std::swap(chosen, sequences.back());
      sequences.pop_back();
    } else if (choice == 9) {
      cache.park(chosen.pages);
    } else if (choice == 10 && GetParam().host_pages > 0 && chosen.pages.pinned.empty()) {
      uint64_t needed = 0;
      suspended += cache.suspend(chosen.pages, chosen.tokens, TierId::host, &needed);
    } else if (choice == 11 && GetParam().host_pages > 0) {
      world.make_moves(world.random()() % 20, 5);
    } else if (choice == 12) {
      cache.prefixes().trim(world.random()() % (60 * kPageBytes));
    } else if (choice == 13) {
      cache.prefixes().pages().set_budget((40 + world.random()() % 60) * kPageBytes);
      cache.prefixes().trim(cache.prefixes().pages().excess_bytes());
    }
    cache.check_invariants();
  }
  EXPECT_GT(world.num_reused(), 1000u);
  EXPECT_GT(refused, 3);
  EXPECT_EQ(suspended > 20, GetParam().host_pages > 0);
  for (World::Sequence& sequence : sequences) cache.release(sequence.pages);
  if (GetParam().host_pages > 0) world.make_moves(1 << 20, 0);
  EXPECT_EQ(cache.used_bytes(), 0u);
  cache.prefixes().trim(UINT64_MAX);
  EXPECT_EQ(cache.mapped_bytes(), 0u);
  cache.check_invariants();
}

}  // namespace
}  // namespace kvi
