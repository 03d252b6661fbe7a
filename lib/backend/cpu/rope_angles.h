// Cosines and sines of a step's positions, computed once a step for each rotation that its layers use.
//
// Not thread-safe; the executor's.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/vector_ops.h"
#include "base/thread_pool.h"

namespace kvi::cpu {

class RopeAngles {
 public:
  RopeAngles(const ExecutorShape& shape, Scratch& scratch);

  void begin_step(std::span<const int32_t> positions);
  // Makes at() ready for rope, which must not change during the step.
  void prepare(ThreadPool& pool, const Rope& rope);
  RotaryAngles at(const Rope& rope, int row) const;

 private:
  // Models have one rotation, or one for local and one for global layers; of more, the oldest goes.
  static constexpr int kTables = 2;
  struct Table {
    const Rope* rope;
    float* cosines;  // [max_rows, rotary_dim], arranged as RotaryAngles says
    float* sines;
  };

  std::span<const int32_t> positions_;
  Table tables_[kTables];
  int max_head_dim_;
  int next_ = 0;
};

}  // namespace kvi::cpu
