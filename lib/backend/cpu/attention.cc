#include "backend/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/error.h"

namespace kvi::cpu {
namespace {

// Queries (heads that share a KV head count each) that share a pass over the keys. More would reuse a
// key more often, but their scores would no longer fit the L1 cache.
constexpr int kTileRows = 32;

// A step of few rows cannot keep all threads busy with whole sequences, so these are cut into parts.
// There is room for this many rows of the longest context.
constexpr int kSplitRows = 4;

int splits_before(int key) { return (key + kSplitKeys - 1) / kSplitKeys; }

// The splits [first, end) that positions [first_position, last_position] see.
struct SplitRange {
  int first, end;
  int size() const { return end - first; }
};
SplitRange visible_splits(const KvSegment& segment, int first_position, int last_position) {
  const int first_key = segment.window == 0 ? 0 : std::max(0, first_position + 1 - segment.window);
  return {first_key / kSplitKeys, splits_before(last_position + 1)};
}

}  // namespace

struct PagedAttention::Step {
  const VectorOps& ops;
  const BatchRows& batch;
  const AttentionWeights& weights;
  std::span<const KvSegment> segments;
  const float* queries;
  float* out;

  int group() const { return weights.num_heads / weights.num_kv_heads; }
  int tile_positions() const { return std::max(1, kTileRows / group()); }
};

// Some consecutive queries of a sequence, and the heads that share one KV head.
struct PagedAttention::Tile {
  int sequence;
  const Plan* plan;
  int kv_head;
  int first;  // of the sequence's rows
  int num_positions;
  int index;  // among the sequence's tiles and KV heads
};

PagedAttention::PagedAttention(const ExecutorShape& shape, int num_threads, Scratch& scratch)
    : num_threads_(num_threads),
      max_sequences_(shape.max_sequences),
      max_tile_rows_(std::max(kTileRows, shape.num_heads)),
      max_head_dim_(shape.head_dim),
      max_partials_(int64_t{kSplitRows} * shape.num_heads * splits_before(shape.max_context)),
      max_counters_(int64_t{kSplitRows} * shape.num_heads) {
  plans_ = scratch.take<Plan>(max_sequences_ + 1);
  partials_ = scratch.take<float>(max_partials_ * state_len(max_head_dim_));
  counters_ = scratch.take<int>(max_counters_);
  threads_ = scratch.take<PerThread>(num_threads_);
  for (int thread = 0; thread < num_threads_; ++thread) {
    const PerThread arrays = {
        scratch.take<float>(int64_t{max_tile_rows_} * max_head_dim_),
        scratch.take<float>(int64_t{max_tile_rows_} * kSplitKeys),
        scratch.take<float>(max_tile_rows_ * state_len(max_head_dim_)),
        scratch.take<float>(max_tile_rows_ * state_len(max_head_dim_)),
    };
    if (threads_ != nullptr) threads_[thread] = arrays;
  }
}

void PagedAttention::run(ThreadPool& pool, const VectorOps& ops, const BatchRows& batch,
                         const AttentionWeights& weights, std::span<const KvSegment> segments,
                         const float* queries, float* out) {
  const Step step = {ops, batch, weights, segments, queries, out};
  KVI_CHECK(weights.head_dim <= max_head_dim_ && step.group() <= max_tile_rows_);
  KVI_CHECK(pool.num_threads() <= num_threads_);
  const int64_t num_items = plan(step);
  pool.run(num_items, [&](int64_t item, int thread) { run_item(step, item, thread); });
}

int64_t PagedAttention::plan(const Step& step) {
  const AttentionWeights& weights = step.weights;
  int64_t num_items = 0, num_partials = 0, num_counters = 0;
  for (size_t s = 0; s < step.batch.sequences.size(); ++s) {
    const SequenceRows& rows = step.batch.sequences[s];
    const int last_position = rows.first_position + rows.num_rows - 1;
    int num_parts = 0;
    for (const KvSegment& segment : step.segments) {
      const size_t page = static_cast<size_t>(last_position / segment.layout->page_len);
      KVI_CHECK(rows.num_rows == 0 || page < segment.tables[s].size());
      num_parts += visible_splits(segment, rows.first_position, last_position).size();
    }
    const int64_t num_tiles = (rows.num_rows + step.tile_positions() - 1) / step.tile_positions() *
                              int64_t{weights.num_kv_heads};
    const int64_t partials = int64_t{rows.num_rows} * weights.num_heads * num_parts;
    const bool split = num_parts > 1 && num_partials + partials <= max_partials_ &&
                       num_counters + num_tiles <= max_counters_;
    plans_[s] = {num_items, split ? num_parts : 1, num_partials, num_counters};
    num_items += num_tiles * plans_[s].num_parts;
    if (split) {
      num_partials += partials;
      num_counters += num_tiles;
    }
  }
  std::fill_n(counters_, num_counters, 0);
  return num_items;
}

void PagedAttention::run_item(const Step& step, int64_t item, int thread) {
  const Plan* plans_end = plans_ + step.batch.sequences.size();
  const Plan* plan = std::upper_bound<const Plan*>(
                         plans_, plans_end, item,
                         [](int64_t value, const Plan& p) { return value < p.first_item; }) -
                     1;
  Tile tile;
  tile.plan = plan;
  tile.sequence = static_cast<int>(plan - plans_);
  const SequenceRows& rows = step.batch.sequences[static_cast<size_t>(tile.sequence)];
  const int num_tiles = (rows.num_rows + step.tile_positions() - 1) / step.tile_positions();
  const int part = static_cast<int>((item - plan->first_item) % plan->num_parts);
  tile.index = static_cast<int>((item - plan->first_item) / plan->num_parts);
  tile.kv_head = tile.index / num_tiles;
  // The last positions first: they see the most keys, and no thread should begin with those at the end.
  tile.first = (num_tiles - 1 - tile.index % num_tiles) * step.tile_positions();
  tile.num_positions = std::min(step.tile_positions(), rows.num_rows - tile.first);

  const int group = step.group(), head_dim = step.weights.head_dim;
  const int64_t row_len = int64_t{step.weights.num_heads} * head_dim;
  float* packed = threads_[thread].queries;
  for (int p = 0; p < tile.num_positions; ++p) {
    const float* heads = step.queries + (rows.first_row + tile.first + p) * row_len +
                         int64_t{tile.kv_head} * group * head_dim;
    std::copy_n(heads, group * head_dim, packed + int64_t{p} * group * head_dim);
  }
  step.ops.scale(step.weights.softmax_scale, int64_t{tile.num_positions} * group * head_dim,
                 packed);

  if (plan->num_parts == 1) {
    attend_all(step, tile, thread);
  } else {
    attend_part(step, tile, part, thread);
  }
}

namespace {

AttentionCall call_for(const AttentionWeights& weights, const KvSegment& segment, int sequence,
                       int kv_head) {
  const PageLayout& layout = *segment.layout;
  const Plane& key = *segment.key;
  const Plane& value = *segment.value;
  AttentionCall call = {};
  call.group = weights.num_heads / weights.num_kv_heads;
  call.head_dim = weights.head_dim;
  call.dtype = key.dtype;
  call.pages = segment.pages;
  call.page_bytes = layout.page_bytes;
  call.key_offset = key.offset + static_cast<uint64_t>(kv_head) * key.head_stride;
  call.key_dim_stride = key.dim_stride;
  call.value_offset = value.offset + static_cast<uint64_t>(kv_head) * value.head_stride;
  call.value_slot_stride = value.slot_stride;
  call.table = segment.tables[static_cast<size_t>(sequence)].data();
  call.page_shift = std::countr_zero(static_cast<unsigned>(layout.page_len));
  call.window = segment.window;
  call.softcap = weights.logit_softcap;
  return call;
}

}  // namespace

void PagedAttention::attend_all(const Step& step, const Tile& tile, int thread) {
  const PerThread& own = threads_[thread];
  const int64_t stride = state_len(step.weights.head_dim);
  const int first_position = step.batch.sequences[static_cast<size_t>(tile.sequence)]
                                 .first_position +
                             tile.first;
  const int num_rows = tile.num_positions * step.group();
  bool is_first = true;
  for (const KvSegment& segment : step.segments) {
    AttentionCall call = call_for(step.weights, segment, tile.sequence, tile.kv_head);
    call.queries = own.queries;
    call.scores = own.scores;
    call.num_positions = tile.num_positions;
    call.first_position = first_position;
    const SplitRange splits = visible_splits(segment, first_position,
                                             first_position + tile.num_positions - 1);
    for (int split = splits.first; split < splits.end; ++split) {
      call.first_key = split * kSplitKeys;
      call.end_key = call.first_key + kSplitKeys;
      call.states = is_first ? own.states : own.later;
      step.ops.attend(call);
      for (int row = 0; row < num_rows && !is_first; ++row) {
        step.ops.merge_states(own.later + row * stride, step.weights.head_dim,
                              own.states + row * stride);
      }
      is_first = false;
    }
  }
  write_out(step, tile, own.states);
}

void PagedAttention::attend_part(const Step& step, const Tile& tile, int part, int thread) {
  const SequenceRows& rows = step.batch.sequences[static_cast<size_t>(tile.sequence)];
  int split = part;
  const KvSegment* segment = step.segments.data();
  for (;; ++segment) {
    const SplitRange splits = visible_splits(*segment, rows.first_position,
                                             rows.first_position + rows.num_rows - 1);
    if (split < splits.size()) {
      split += splits.first;
      break;
    }
    split -= splits.size();
  }
  AttentionCall call = call_for(step.weights, *segment, tile.sequence, tile.kv_head);
  call.queries = threads_[thread].queries;
  call.scores = threads_[thread].scores;
  call.num_positions = tile.num_positions;
  call.first_position = rows.first_position + tile.first;
  call.first_key = split * kSplitKeys;
  call.end_key = call.first_key + kSplitKeys;
  call.states = partial(step, tile, part);
  step.ops.attend(call);

  // Whoever is last merges: which thread that is changes nothing in the order of the parts.
  std::atomic_ref<int> num_done(counters_[tile.plan->first_counter + tile.index]);
  if (num_done.fetch_add(1, std::memory_order_acq_rel) + 1 == tile.plan->num_parts) {
    merge_parts(step, tile);
  }
}

float* PagedAttention::partial(const Step& step, const Tile& tile, int part) const {
  const SequenceRows& rows = step.batch.sequences[static_cast<size_t>(tile.sequence)];
  const int64_t head_part = int64_t{tile.kv_head} * tile.plan->num_parts + part;
  const int64_t row = (head_part * rows.num_rows + tile.first) * step.group();
  return partials_ + (tile.plan->first_partial + row) * state_len(step.weights.head_dim);
}

void PagedAttention::merge_parts(const Step& step, const Tile& tile) {
  const int64_t stride = state_len(step.weights.head_dim);
  float* states = partial(step, tile, 0);
  for (int part = 1; part < tile.plan->num_parts; ++part) {
    const float* later = partial(step, tile, part);
    for (int row = 0; row < tile.num_positions * step.group(); ++row) {
      step.ops.merge_states(later + row * stride, step.weights.head_dim, states + row * stride);
    }
  }
  write_out(step, tile, states);
}

void PagedAttention::write_out(const Step& step, const Tile& tile, const float* states) const {
  const int group = step.group(), head_dim = step.weights.head_dim;
  const int first_row = step.batch.sequences[static_cast<size_t>(tile.sequence)].first_row +
                        tile.first;
  for (int p = 0; p < tile.num_positions; ++p) {
    float* heads = step.out +
                   ((first_row + p) * int64_t{step.weights.num_heads} + tile.kv_head * group) *
                       head_dim;
    for (int g = 0; g < group; ++g, states += state_len(head_dim)) {
      step.ops.finish_state(states, head_dim, heads + g * head_dim);
    }
  }
}

}  // namespace kvi::cpu
