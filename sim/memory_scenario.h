// How many sequences fit real memory, and how much of it is wasted: pages against one reservation a sequence.
//
// All numbers come from allocating, through CacheManager over host memory that is committed and never touched, and
// for the contiguous allocator by reserving max_model_len tokens a sequence of the same budget.
//
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kv_shape.h"

namespace kvi {

struct MemoryResult {
  std::string name;
  int64_t context = 0;      // tokens
  uint64_t page_bytes = 0;  // of all layer groups
  double value = 0;
  std::string shape;  // whose layers: "model", "gemma-3-270m", "one plane"
};

std::vector<MemoryResult> measure_memory(const KvShape& model, uint64_t seed);

}  // namespace kvi
