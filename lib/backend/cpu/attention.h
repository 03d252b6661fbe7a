// Softmax attention of a step's queries over KV pages: which thread attends to which keys.
//
// The keys of a query are cut into splits at multiples of kSplitKeys, in absolute positions; each
// split is attended to by itself, and the results are merged in order. That is all that determines
// the bits. Which thread takes which split, and which queries share a pass over the keys, is free.
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

class PagedAttention {
 public:
  PagedAttention(const ExecutorShape& shape, int num_threads, Scratch& scratch);

  // queries and out: [batch.num_rows, num_heads * head_dim]. Several segments: a query's keys are those
  // of all of them.
  void run(ThreadPool& pool, const VectorOps& ops, const BatchRows& batch,
           const AttentionWeights& weights, std::span<const KvSegment> segments,
           const float* queries, float* out);

 private:
  // How one sequence's work is cut: items [first_item, next sequence's first_item), by tile of
  // queries, KV head and part of the keys.
  struct Plan {
    int64_t first_item;
    int num_parts;  // 1: an item attends to all its keys
    int64_t first_partial;
    int64_t first_counter;
  };
  struct Step;
  struct Tile;

  int64_t plan(const Step& step);
  void run_item(const Step& step, int64_t item, int thread);
  void attend_all(const Step& step, const Tile& tile, int thread);
  void attend_part(const Step& step, const Tile& tile, int part, int thread);
  float* partial(const Step& step, const Tile& tile, int part) const;
  void merge_parts(const Step& step, const Tile& tile);
  void write_out(const Step& step, const Tile& tile, const float* states) const;

  int num_threads_;
  int max_sequences_;
  int max_tile_rows_;
  int max_head_dim_;
  int64_t max_partials_;  // of one query and head over one part
  int64_t max_counters_;

  Plan* plans_;
  float* partials_;  // [max_partials][state_len]
  int* counters_;    // parts done, by tile and KV head of the sequences cut into parts

  struct PerThread {
    float* queries;  // [max_tile_rows, head_dim]
    float* scores;   // [max_tile_rows, kSplitKeys]
    float* states;   // [max_tile_rows, state_len], of all keys so far
    float* later;    // as states, of one more split
  };
  PerThread* threads_;  // [num_threads]
};

}  // namespace kvi::cpu
