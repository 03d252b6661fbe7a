// Which thread block attends to what: the work lists of the fast attention kernels for one step.
//
// Sequences with few packed queries (rows times heads of a KV head) go to the decode kernel, whose keys are
// split so that all blocks that run at once have about the same to read; the others go to the prefill kernel.
// Layers of equal window and heads share a plan.
//
// Thread-safe: pure functions.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "cuda/paged_attention.h"

namespace kvi::cuda {

struct AttentionPlanShape {
  int num_heads = 1, num_kv_heads = 1, head_dim = 128;
  int window = 0;             // tokens; 0: all
  int blocks_at_once = 1;     // of the decode kernel, on the whole GPU
  int prefill_queries = 128;  // packed queries of a prefill tile
  // 0: splits are balanced over the batch. Else keys are split at multiples of this, whatever the batch, so that a
  // decoded row's result depends on its own sequence only. A multiple of 64.
  int split_keys = 0;
};

struct AttentionPlan {
  std::vector<AttentionWork> decode, prefill;  // longest first
  int num_split_tiles = 0;                     // places in arrivals
  int num_partials = 0;                        // places in partials
};

// What a plan may need at most, for any positions up to max_context.
struct AttentionPlanLimits {
  int decode = 0, prefill = 0;  // pieces of work
  int split_tiles = 0, partials = 0;
};

// A sequence with more packed queries is a matter of the prefill kernel.
inline constexpr int kMostDecodeQueries = 64;

// plan's vectors are reused.
void plan_attention(std::span<const SequenceRows> sequences, const AttentionPlanShape& shape,
                    AttentionPlan& plan);
AttentionPlanLimits attention_limits(int max_rows, int max_sequences, int max_context,
                                     const AttentionPlanShape& shape);

}  // namespace kvi::cuda
