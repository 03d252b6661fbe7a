// What the operations of the cache's core cost: time and change of bytes, without a model.
//
// Thread-safe: functions only; timings want a quiet machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kv_shape.h"

namespace kvi {

struct OperationCost {
  std::string name;
  int64_t context = 0;  // tokens of the sequence; of a scheduler's step: pages in the index
  int64_t count = 0;
  double median_us = 0, p99_us = 0;
  double bytes = 0;  // mean change: of allocated bytes; of mapped ones for evict and resize
};

std::vector<OperationCost> measure_cache_operations(const KvShape& shape, int count, uint64_t seed);
// The scheduler's part of a decode step of num_sequences, beside so many cached pages.
OperationCost measure_scheduler_step(int num_sequences, int num_pages, int count, uint64_t seed);

}  // namespace kvi
