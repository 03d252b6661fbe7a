#include "backend/cuda/attention_plan.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace kvi::cuda {
namespace {

// Splits end at multiples of what the warps of a block take at a time.
constexpr int kSplitStep = kDecodeWarps * kKeysOfTile;
// The rest is in keys that one block alone would read meanwhile, as measured on an H100 (up to 16k keys, 1 to 48
// sequences): what a piece costs besides its keys while all blocks run, what merging splits does, and each.
constexpr int kPieceCost = 300, kMergeCost = 160, kSplitCost = 6;
// A block alone reads so many times what it gets when all run, times its head_dim: the memory is busy long
// before all blocks are.
constexpr int kBusyPart = 29;
// Waves of pieces that tiles are split into at most; more are balanced as they are.
constexpr int kMostWaves = 2;

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// A tile of packed queries, and the keys that any of them sees.
AttentionWork tile_of(const SequenceRows& rows, int sequence, int first_query, int num_queries,
                      const AttentionPlanShape& shape) {
  const int group = shape.num_heads / shape.num_kv_heads;
  const int first_position = rows.first_position + first_query / group;
  const int last_position = rows.first_position + (first_query + num_queries - 1) / group;
  const int first_seen = shape.window > 0 ? std::max(0, first_position + 1 - shape.window) : 0;
  AttentionWork work = {};
  work.sequence = sequence;
  work.first_row = rows.first_row;
  work.first_position = rows.first_position;
  work.first_query = first_query;
  work.num_queries = num_queries;
  work.first_key = first_seen / kKeysOfTile * kKeysOfTile;
  work.num_keys = last_position + 1 - work.first_key;
  work.num_splits = 1;
  return work;
}

bool decodes(const SequenceRows& rows, const AttentionPlanShape& shape) {
  return rows.num_rows * (shape.num_heads / shape.num_kv_heads) <= kMostDecodeQueries;
}

int slots_of(const AttentionPlanShape& shape) {
  return std::max(1, shape.blocks_at_once / shape.num_kv_heads);
}

// One wave is enough for few tiles; and their grids stay small.
int waves_for(int64_t num_tiles, int num_slots) {
  return 2 * num_tiles <= num_slots ? 1 : kMostWaves;
}

// The length of splits that should end first: all keys over a busy memory, half a piece's own time at the end,
// and what pieces and merging cost besides.
int balanced_split(const std::vector<AttentionWork>& tiles, const AttentionPlanShape& shape) {
  const int num_slots = slots_of(shape);
  const int64_t num_tiles = std::ssize(tiles);
  int64_t total = 0;
  int longest = 1;
  for (const AttentionWork& tile : tiles) {
    total += tile.num_keys;
    longest = std::max(longest, tile.num_keys);
  }
  if (num_tiles > kMostWaves * num_slots) return longest;
  const auto cost_of = [&](int length) {
    int64_t num_pieces = 0;
    for (const AttentionWork& tile : tiles) num_pieces += ceil_div(tile.num_keys, length);
    const int64_t busy = total * shape.head_dim / (int64_t{kBusyPart} * num_slots);
    const int num_splits = ceil_div(longest, length);
    return std::max<int64_t>(length, busy + length / 2) + kPieceCost * num_pieces / num_slots +
           (num_splits > 1 ? kMergeCost + kSplitCost * num_splits : 0);
  };
  int best = longest;
  int64_t least = cost_of(best);
  // Pieces that fill the blocks' places once, twice, or an even part of them.
  for (int64_t eighths = 1; eighths <= 8 * waves_for(num_tiles, num_slots); eighths *= 2) {
    // A tile's last piece may be short: there will be more pieces than this.
    const int64_t num_pieces = std::max<int64_t>(1, (eighths * num_slots) / 8 - num_tiles / 2);
    int length = ceil_div(static_cast<int>((total + num_pieces - 1) / num_pieces), kSplitStep);
    length = std::max(length, ceil_div(ceil_div(longest, kMostSplits), kSplitStep)) * kSplitStep;
    if (length >= longest) continue;
    const int64_t cost = cost_of(length);
    if (cost < least) {
      least = cost;
      best = length;
    }
  }
  return best;
}

void split(const AttentionWork& tile, int length, bool at_multiples, AttentionPlan& plan) {
  const int base = at_multiples ? tile.first_key / length * length : tile.first_key;
  const int end = tile.first_key + tile.num_keys;
  const int num_splits = ceil_div(end - base, length);
  if (num_splits <= 1) {
    plan.decode.push_back(tile);
    return;
  }
  AttentionWork piece = tile;
  piece.num_splits = num_splits;
  piece.tile = plan.num_split_tiles++;
  piece.first_partial = plan.num_partials;
  plan.num_partials += num_splits;
  for (int s = 0; s < num_splits; ++s) {
    piece.split = s;
    piece.first_key = std::max(base + s * length, tile.first_key);
    piece.num_keys = std::min(base + (s + 1) * length, end) - piece.first_key;
    plan.decode.push_back(piece);
  }
}

void longest_first(std::vector<AttentionWork>& work) {
  std::stable_sort(work.begin(), work.end(), [](const AttentionWork& a, const AttentionWork& b) {
    return a.num_keys > b.num_keys;
  });
}

}  // namespace

void plan_attention(std::span<const SequenceRows> sequences, const AttentionPlanShape& shape,
                    AttentionPlan& plan) {
  plan.decode.clear();
  plan.prefill.clear();
  plan.num_split_tiles = plan.num_partials = 0;
  const int group = shape.num_heads / shape.num_kv_heads;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const bool is_short = decodes(sequences[s], shape);
    std::vector<AttentionWork>& work = is_short ? plan.decode : plan.prefill;
    const int size = is_short ? kDecodeQueries : shape.prefill_queries;
    const int num_queries = sequences[s].num_rows * group;
    for (int first = 0; first < num_queries; first += size) {
      work.push_back(tile_of(sequences[s], static_cast<int>(s), first,
                             std::min(size, num_queries - first), shape));
    }
  }
  if (!plan.decode.empty()) {
    const int length = shape.split_keys > 0 ? shape.split_keys : balanced_split(plan.decode, shape);
    const std::vector<AttentionWork> tiles = std::move(plan.decode);
    plan.decode.clear();
    for (const AttentionWork& tile : tiles) split(tile, length, shape.split_keys > 0, plan);
  }
  longest_first(plan.decode);
  longest_first(plan.prefill);
}

AttentionPlanLimits attention_limits(int max_rows, int max_sequences, int max_context,
                                     const AttentionPlanShape& shape) {
  const int group = shape.num_heads / shape.num_kv_heads;
  const int64_t most_tiles = int64_t{max_sequences} * ceil_div(kMostDecodeQueries, kDecodeQueries);
  // No more tiles than there are rows, a tile being at least a row, or parts of one.
  const int64_t tiles = std::min(
      most_tiles,
      int64_t{max_rows} * ceil_div(std::min(group, kMostDecodeQueries), kDecodeQueries));
  AttentionPlanLimits limits;
  if (shape.split_keys > 0) {
    limits.partials = static_cast<int>(tiles * (ceil_div(max_context, shape.split_keys) + 1));
  } else {
    // Only so few tiles are split: into what fills the waves, and a rest of each.
    const int num_slots = slots_of(shape);
    limits.partials = static_cast<int>(std::min<int64_t>(tiles, kMostWaves * num_slots)) +
                      waves_for(tiles, num_slots) * num_slots;
  }
  limits.split_tiles = static_cast<int>(tiles);
  limits.decode = std::max(static_cast<int>(tiles), limits.partials);
  limits.prefill = ceil_div(max_rows * group, shape.prefill_queries) +
                   std::min(max_sequences, max_rows);
  return limits;
}

}  // namespace kvi::cuda
