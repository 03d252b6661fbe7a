#include "cache/cache_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "support/seed.h"

namespace kvi {
namespace {

constexpr int kPageLen = 16;

PageLayout layout_of_bytes(uint64_t page_bytes) {
  PageLayout layout;
  layout.page_len = kPageLen;
  layout.page_bytes = page_bytes;
  return layout;
}

CacheManager make_cache(std::vector<LayerGroup> groups, uint64_t budget) {
  return CacheManager(std::move(groups), {.budget_bytes = budget, .eviction_policy = "lru"},
                      reserve_host_memory);
}

void compute(CacheManager& cache, SequencePages& sequence, int count) {
  std::vector<PageCopy> copies;
  ASSERT_TRUE(cache.reserve(sequence, count, copies));
  cache.finish_copies(copies);
  cache.commit(sequence, count);
}

TEST(CacheManagerTest, BudgetBelowOnePageOfEachGroupIsRefused) {
  try {
    make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), 32}}, 12287);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::EXHAUSTED);
    EXPECT_EQ(error.needed(), 12288u);
    EXPECT_EQ(error.available(), 12287u);
  }
  make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), 32}}, 12288);
}

TEST(CacheManagerTest, BudgetIsNeverPassed) {
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}}, 4 * 4096);
  SequencePages a = cache.make_sequence(), b = cache.make_sequence();
  compute(cache, a, 3 * kPageLen);
  std::vector<PageCopy> copies;
  EXPECT_FALSE(cache.reserve(b, kPageLen + 1, copies));
  EXPECT_EQ(b.tables[0].size(), 0u);
  EXPECT_TRUE(cache.reserve(b, kPageLen, copies));
  EXPECT_EQ(cache.used_bytes(), cache.budget_bytes());
  cache.release(a);
  cache.release(b);
  EXPECT_EQ(cache.used_bytes(), 0u);
  EXPECT_EQ(cache.peak_bytes(), 4u * 4096);
  cache.check_invariants();
}

TEST(CacheManagerTest, WriterIntoASharedTailGetsACopy) {
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}}, 64 * 4096);
  SequencePages parent = cache.make_sequence();
  compute(cache, parent, kPageLen + 5);
  std::memset(cache.pages(0) + parent.tables[0][1] * 4096, 7, 4096);
  SequencePages child = cache.fork(parent);
  EXPECT_EQ(cache.used_bytes(), 2u * 4096);

  std::vector<PageCopy> copies;
  ASSERT_TRUE(cache.reserve(child, 1, copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, parent.tables[0][1]);
  EXPECT_EQ(copies[0].to, child.tables[0][1]);
  EXPECT_NE(copies[0].to, copies[0].from);
  EXPECT_EQ(child.tables[0][0], parent.tables[0][0]);

  copies.clear();
  ASSERT_TRUE(cache.reserve(parent, 1, copies));  // the only holder now: it writes in place
  EXPECT_TRUE(copies.empty());
  cache.release(parent);
  cache.release(child);
  cache.check_invariants();
}

TEST(CacheManagerTest, PagesOutsideTheWindowAreGivenBack) {
  const int window = 40;
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(4096), window}},
                                  1000 * 4096);
  SequencePages sequence = cache.make_sequence();
  for (int n = 1; n <= 400; ++n) {
    compute(cache, sequence, 1);
    // The window of the last computed position, j > n - 1 - window, is all there, and nothing more.
    const int first_visible = std::max(0, n - window);
    EXPECT_EQ(sequence.first_held[1], first_visible / kPageLen);
    for (int page = 0; page < static_cast<int>(sequence.tables[1].size()); ++page) {
      EXPECT_EQ(sequence.tables[1][page] == kNoPage, page < first_visible / kPageLen);
    }
  }
  EXPECT_LE(cache.used_bytes(), (25 + 4) * 4096u);
  cache.release(sequence);
  EXPECT_EQ(cache.used_bytes(), 0u);
}

TEST(CacheManagerTest, WhatASequenceTakesAloneIsKnownToThePage) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 300; ++round) {
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    CacheManager cache = make_cache(
        {{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), pick(1, 100)}}, 1 << 20);
    SequencePages sequence = cache.make_sequence();
    for (int goals = 0, goal = 0; goals < 3; ++goals) {
      goal += pick(1, 300);
      const int chunk = pick(1, 100);
      const uint64_t alone = cache.peak_bytes_alone(sequence, goal, chunk);
      EXPECT_EQ(cache.bytes_to_reach_alone(sequence, goal, chunk),
                alone - cache.held_bytes(sequence));
      EXPECT_LE(cache.bytes_to_reach_alone(sequence, goal, chunk),
                cache.bytes_to_reach(sequence, goal, chunk));
      uint64_t most = 0;
      while (sequence.num_tokens < goal) {
        const int count = std::min(chunk, goal - sequence.num_tokens);
        std::vector<PageCopy> copies;
        ASSERT_TRUE(cache.reserve(sequence, count, copies));
        most = std::max(most, cache.used_bytes());
        cache.commit(sequence, count);
      }
      EXPECT_EQ(most, alone);
    }
    cache.release(sequence);
  }
}

TEST(CacheManagerTest, TruncationBehindTheWindowStartsAnew) {
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(4096), 32}},
                                  1000 * 4096);
  SequencePages sequence = cache.make_sequence();
  compute(cache, sequence, 200);
  cache.truncate(sequence, 199);
  EXPECT_EQ(sequence.num_tokens, 199);
  cache.truncate(sequence, 100);
  EXPECT_EQ(sequence.num_tokens, 0);
  EXPECT_EQ(cache.used_bytes(), 0u);
}

TEST(CacheManagerTest, RestoredSequenceHoldsWhatAComputedOneWould) {
  const std::vector<LayerGroup> groups = {{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), 40}};
  for (const int num_tokens : {1, 16, 40, 56, 57, 100, 300}) {
    CacheManager cache = make_cache(groups, 1000 * 4096);
    SequencePages computed = cache.make_sequence(), restored = cache.make_sequence();
    for (int n = 0; n < num_tokens; ++n) compute(cache, computed, 1);
    const uint64_t used = cache.used_bytes();
    std::vector<PageCopy> copies;
    ASSERT_TRUE(cache.reserve_restored(restored, num_tokens, copies));
    EXPECT_EQ(cache.used_bytes() - used, cache.restored_bytes(num_tokens));
    cache.finish_copies(copies);
    cache.commit(restored, num_tokens);
    EXPECT_EQ(restored.num_tokens, computed.num_tokens);
    EXPECT_EQ(restored.first_held, computed.first_held);
    for (size_t g = 0; g < groups.size(); ++g) {
      ASSERT_EQ(restored.tables[g].size(), computed.tables[g].size());
      for (size_t i = 0; i < restored.tables[g].size(); ++i) {
        EXPECT_EQ(restored.tables[g][i] == kNoPage, computed.tables[g][i] == kNoPage);
      }
    }
    compute(cache, restored, 50);
    cache.release(computed);
    cache.release(restored);
    EXPECT_EQ(cache.used_bytes(), 0u);
    cache.check_invariants();
  }
}

TEST(CacheManagerTest, RestoringWhatDoesNotFitChangesNothing) {
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), 40}},
                                  20 * 4096);
  SequencePages sequence = cache.make_sequence();
  std::vector<PageCopy> copies;
  EXPECT_FALSE(cache.reserve_restored(sequence, 1000, copies));
  EXPECT_EQ(cache.used_bytes(), 0u);
  EXPECT_TRUE(cache.reserve_restored(sequence, 100, copies));
  cache.finish_copies(copies);
  cache.release(sequence);
  cache.check_invariants();
}

TEST(CacheManagerTest, MemoryOfFreePagesMovesBetweenGroups) {
  CacheManager cache = make_cache({{layout_of_bytes(8192), 0}, {layout_of_bytes(4096), 16}},
                                  10 * 8192);
  SequencePages a = cache.make_sequence();
  compute(cache, a, 4 * kPageLen);
  cache.release(a);
  EXPECT_GT(cache.mapped_bytes(), 0u);
  SequencePages b = cache.make_sequence();
  compute(cache, b, 6 * kPageLen);
  cache.check_invariants();  // resident memory stays within the budget
  std::memset(cache.pages(0) + b.tables[0].back() * 8192, 1, 8192);
}

// Random operations against a model that keeps every page's content by hand.
TEST(CacheManagerTest, EverySequenceReadsWhatItWrote) {
  std::mt19937_64 random(test_seed());
  const int window = 50;
  CacheManager cache = make_cache({{layout_of_bytes(4096), 0}, {layout_of_bytes(8192), window}},
                                  60 * 4096);
  struct Naive {
    SequencePages pages;
    std::vector<int> values;  // by position
  };
  std::vector<Naive> sequences;
  auto slot = [&](const SequencePages& pages, int group, int position) {
    const PageId page = pages.tables[group][position / kPageLen];
    EXPECT_NE(page, kNoPage);
    return reinterpret_cast<int*>(
               cache.pages(group) +
               page * static_cast<int64_t>(cache.groups()[group].layout.page_bytes)) +
           position % kPageLen;
  };
  int next_value = 1, refused = 0;
  for (int step = 0; step < 20000; ++step) {
    const int choice = static_cast<int>(random() % 10);
    if (sequences.empty() || choice == 0) {
      if (sequences.size() < 12) sequences.push_back({cache.make_sequence(), {}});
      continue;
    }
    Naive& chosen = sequences[random() % sequences.size()];
    if (choice <= 6) {
      const int count = 1 + static_cast<int>(random() % 40);
      std::vector<PageCopy> copies;
      if (!cache.reserve(chosen.pages, count, copies)) {
        ++refused;
        continue;
      }
      cache.finish_copies(copies);
      for (const PageCopy& copy : copies) {
        const uint64_t bytes = cache.groups()[copy.group].layout.page_bytes;
        std::byte* to = cache.pages(copy.group) + copy.to * bytes;
        if (copy.from == kNoPage) {
          std::memset(to, 0, bytes);
        } else {
          std::memcpy(to, cache.pages(copy.group) + copy.from * bytes, bytes);
        }
      }
      const int written = random() % 8 == 0 ? 0
                                            : count;  // a step that failed leaves its reservation
      for (int i = 0; i < written; ++i) {
        const int position = chosen.pages.num_tokens + i;
        for (int g : {0, 1}) *slot(chosen.pages, g, position) = next_value;
        chosen.values.push_back(next_value++);
      }
      if (written > 0) cache.commit(chosen.pages, written);
    } else if (choice == 7) {
      cache.truncate(chosen.pages, static_cast<int>(random() % (chosen.values.size() + 1)));
      chosen.values.resize(chosen.pages.num_tokens);
    } else if (choice == 8 && sequences.size() < 12) {
      Naive copy{cache.fork(chosen.pages), chosen.values};
      sequences.push_back(std::move(copy));
    } else if (choice == 9) {
      cache.release(chosen.pages);
      std::swap(chosen, sequences.back());
      sequences.pop_back();
    }
    cache.check_invariants();
    for (const Naive& naive : sequences) {
      const int n = naive.pages.num_tokens;
      ASSERT_EQ(n, static_cast<int>(naive.values.size()));
      for (int position = 0; position < n; ++position) {
        ASSERT_EQ(*slot(naive.pages, 0, position), naive.values[position]) << "step " << step;
        if (position > n - window) {  // what the next position sees
          ASSERT_EQ(*slot(naive.pages, 1, position), naive.values[position]) << "step " << step;
        }
      }
    }
  }
  EXPECT_GT(refused, 100);  // the budget was tight enough to matter
}

}  // namespace
}  // namespace kvi
