// Replays a request trace over an eviction policy, or over the offline optimum, and counts the hits.
//
// Requests run one after the other, in the order of the trace. A request's blocks are its hash ids, outputs aside. It
// hits the longest cached prefix of them, in tokens and at most its input_length; then all of them are cached
// and used, the first as the most recent; then blocks beyond the budget are evicted.
//
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/eviction.h"
#include "trace_file.h"

namespace kvi {

struct ReplayResult {
  double hit_rate = 0;  // hit tokens / input tokens; 0 where there are none
  int64_t requests = 0;
  int64_t evictions = 0;
  int64_t inner_victims = 0;  // times that the policy named a block with cached children
};

// budget_blocks: 0 is unbounded.
ReplayResult replay_trace(const std::vector<TraceRequest>& trace, int64_t budget_blocks,
                          EvictionPolicy& policy);

// Belady's rule for prefixes: evicts the block whose next use is farthest away, deepest first. The tokens of a
// block need all blocks before it, and these are used again no later, so the victims are leaves.
ReplayResult replay_trace_optimally(const std::vector<TraceRequest>& trace, int64_t budget_blocks);

}  // namespace kvi
