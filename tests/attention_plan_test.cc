#include "backend/cuda/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "support/seed.h"

namespace kvi::cuda {
namespace {

std::vector<SequenceRows> batch_of(const std::vector<std::pair<int, int>>& position_and_rows) {
  std::vector<SequenceRows> sequences;
  int row = 0;
  for (auto [position, num_rows] : position_and_rows) {
    sequences.push_back({row, num_rows, position});
    row += num_rows;
  }
  return sequences;
}

int num_rows(const std::vector<SequenceRows>& sequences) {
  return sequences.empty() ? 0 : sequences.back().first_row + sequences.back().num_rows;
}

// Every query meets each key that it may see in exactly one piece, and pieces keep to their places.
void check(const std::vector<SequenceRows>& sequences, const AttentionPlanShape& shape,
           const AttentionPlan& plan) {
  const int group = shape.num_heads / shape.num_kv_heads;
  std::set<std::pair<size_t, int>> met;  // (sequence, packed query), of whole tiles
  std::map<std::tuple<int, int>, std::vector<const AttentionWork*>> tiles;
  std::set<int> partials, arrivals;
  for (const auto* list : {&plan.decode, &plan.prefill}) {
    for (const AttentionWork& work : *list) {
      ASSERT_EQ(work.first_key % kKeysOfTile, 0);
      ASSERT_GT(work.num_keys, 0);
      ASSERT_LE(work.num_queries, list == &plan.decode ? kDecodeQueries : shape.prefill_queries);
      const SequenceRows& rows = sequences[static_cast<size_t>(work.sequence)];
      ASSERT_EQ(work.first_row, rows.first_row);
      ASSERT_EQ(work.first_position, rows.first_position);
      tiles[{work.sequence, work.first_query}].push_back(&work);
    }
    ASSERT_TRUE(std::is_sorted(
        list->begin(), list->end(),
        [](const AttentionWork& a, const AttentionWork& b) { return a.num_keys > b.num_keys; }));
  }
  for (auto& [key, pieces] : tiles) {
    std::sort(pieces.begin(), pieces.end(),
              [](const auto* a, const auto* b) { return a->split < b->split; });
    const AttentionWork& first = *pieces.front();
    const SequenceRows& rows = sequences[static_cast<size_t>(first.sequence)];
    for (int q = 0; q < first.num_queries; ++q) {
      ASSERT_TRUE(met.insert({static_cast<size_t>(first.sequence), first.first_query + q}).second);
    }
    const int from = rows.first_position + first.first_query / group;
    const int to = rows.first_position + (first.first_query + first.num_queries - 1) / group;
    ASSERT_LE(first.first_key, shape.window > 0 ? std::max(0, from + 1 - shape.window) : 0);
    ASSERT_EQ(static_cast<int>(pieces.size()), first.num_splits);
    ASSERT_LE(first.num_splits, kMostSplits);
    int next = first.first_key;
    for (size_t s = 0; s < pieces.size(); ++s) {
      const AttentionWork& piece = *pieces[s];
      ASSERT_EQ(piece.split, static_cast<int>(s));
      ASSERT_EQ(piece.first_key, next);
      ASSERT_EQ(piece.tile, first.tile);
      next += piece.num_keys;
      if (piece.num_splits > 1) {
        ASSERT_TRUE(partials.insert(piece.first_partial + piece.split).second);
      }
    }
    ASSERT_EQ(next, to + 1);
    if (first.num_splits > 1) {
      ASSERT_TRUE(arrivals.insert(first.tile).second);
    }
  }
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int q = 0; q < sequences[s].num_rows * group; ++q) ASSERT_TRUE(met.contains({s, q}));
  }
  ASSERT_EQ(std::ssize(partials), plan.num_partials);
  ASSERT_EQ(std::ssize(arrivals), plan.num_split_tiles);
  if (!partials.empty()) {
    ASSERT_EQ(*partials.rbegin(), plan.num_partials - 1);
    ASSERT_EQ(*arrivals.rbegin(), plan.num_split_tiles - 1);
  }
}

TEST(AttentionPlanTest, EveryQueryMeetsEachOfItsKeysOnceAndLimitsHold) {
  std::mt19937_64 random(test_seed());
  const auto pick = [&](int from, int to) {
    return std::uniform_int_distribution<int>(from, to)(random);
  };
  AttentionPlan plan;
  for (int round = 0; round < 500; ++round) {
    AttentionPlanShape shape;
    shape.num_kv_heads = 1 << pick(0, 4);
    shape.num_heads = shape.num_kv_heads * pick(1, 20);
    shape.head_dim = 64 << pick(0, 2);
    shape.window = pick(0, 1) * pick(1, 700);
    shape.blocks_at_once = pick(1, 300);
    shape.prefill_queries = 64 << pick(0, 1);
    shape.split_keys = pick(0, 3) == 0 ? 64 * pick(4, 16) : 0;
    const int max_context = shape.split_keys > 0 ? 10000 : 50000;
    std::vector<std::pair<int, int>> rows;
    for (int i = pick(1, pick(0, 1) == 0 ? 6 : 80); i > 0; --i) {
      const int count = pick(0, 9) == 0 ? pick(1, 600) : pick(1, 3);
      rows.push_back({pick(0, pick(0, 1) == 0 ? 300 : max_context - count), count});
    }
    const std::vector<SequenceRows> sequences = batch_of(rows);
    plan_attention(sequences, shape, plan);
    ASSERT_NO_FATAL_FAILURE(check(sequences, shape, plan)) << "round " << round;
    const AttentionPlanLimits limits = attention_limits(
        num_rows(sequences) + pick(0, 3), static_cast<int>(sequences.size()) + pick(0, 3),
        max_context, shape);
    ASSERT_LE(std::ssize(plan.decode), limits.decode) << "round " << round;
    ASSERT_LE(std::ssize(plan.prefill), limits.prefill) << "round " << round;
    ASSERT_LE(plan.num_partials, limits.partials) << "round " << round;
    ASSERT_LE(plan.num_split_tiles, limits.split_tiles) << "round " << round;
  }
}

AttentionPlanShape llama_8b() {
  AttentionPlanShape shape;
  shape.num_heads = 32;
  shape.num_kv_heads = 8;
  shape.blocks_at_once = 264;
  return shape;
}

TEST(AttentionPlanTest, OneLongSequenceFillsTheGpu) {
  AttentionPlan plan;
  plan_attention(batch_of({{16383, 1}}), llama_8b(), plan);
  EXPECT_GE(plan.decode.size(), 28u);
  EXPECT_LE(plan.decode.size(), 33u);
}

TEST(AttentionPlanTest, ShortOrManySequencesAreNotSplit) {
  AttentionPlan plan;
  plan_attention(batch_of({{100, 1}}), llama_8b(), plan);
  EXPECT_EQ(plan.decode.size(), 1u);
  std::vector<std::pair<int, int>> many(128, {1000, 1});
  plan_attention(batch_of(many), llama_8b(), plan);
  EXPECT_EQ(plan.decode.size(), 128u);
  EXPECT_EQ(plan.num_partials, 0);
}

TEST(AttentionPlanTest, SplitsAtMultiplesDoNotDependOnTheBatch) {
  AttentionPlanShape shape = llama_8b();
  shape.split_keys = 512;
  AttentionPlan alone, together;
  plan_attention(batch_of({{5000, 1}}), shape, alone);
  plan_attention(batch_of({{5000, 1}, {300, 1}, {9000, 2}}), shape, together);
  std::set<std::tuple<int, int, int>> expected, found;
  for (const AttentionWork& work : alone.decode) {
    expected.insert({work.split, work.first_key, work.num_keys});
    EXPECT_EQ(work.first_key % 512, 0);
  }
  for (const AttentionWork& work : together.decode) {
    if (work.sequence == 0) found.insert({work.split, work.first_key, work.num_keys});
  }
  EXPECT_EQ(found, expected);
}

TEST(AttentionPlanTest, ManyRowsGoToThePrefillKernel) {
  AttentionPlan plan;
  plan_attention(batch_of({{4000, 1}, {0, 16}, {512, 17}, {0, 1000}}), llama_8b(), plan);
  std::set<int> decode, prefill;
  for (const AttentionWork& work : plan.decode) decode.insert(work.sequence);
  for (const AttentionWork& work : plan.prefill) prefill.insert(work.sequence);
  EXPECT_EQ(decode, (std::set{0, 1}));
  EXPECT_EQ(prefill, (std::set{2, 3}));
  EXPECT_EQ(plan.prefill.size(), 1u + 32u);
}

TEST(AttentionPlanTest, NothingIsPlannedForAnEmptyBatch) {
  AttentionPlan plan;
  plan_attention({}, llama_8b(), plan);
  EXPECT_TRUE(plan.decode.empty() && plan.prefill.empty());
}

}  // namespace
}  // namespace kvi::cuda
