// Runs the layers of a step on the CPU: the block-sized ops over matrix products and vector kernels.
//
// A decode step spends microseconds an op, so ops are few parallel loops: short work between products
// is done by the caller alone. Nothing is allocated after construction.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/rope_angles.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/vector_ops.h"
#include "base/thread_pool.h"

namespace kvi::cpu {

class CpuExecutor final : public Executor {
 public:
  // ops: those of isa, or what a test puts around them. Must outlive the executor.
  CpuExecutor(Isa isa, const VectorOps& ops, const ExecutorShape& shape,
              const ExecutorOptions& options);

  static uint64_t scratch_bytes(const ExecutorShape& shape, const ExecutorOptions& options);
  uint64_t scratch_bytes() const override { return scratch_bytes_; }

  void begin_step(const BatchRows& batch) override;
  void embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) override;
  void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) override;
  void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) override;
  void out_residual(const AttentionWeights& weights) override;
  void mlp(const MlpWeights& weights) override;
  void end_layers() override {}
  void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) override;

 private:
  // Everything that a step writes, besides the prepared input of products.
  struct Arrays {
    Arrays(const ExecutorShape& shape, int num_threads, Scratch& scratch);

    float* hidden;     // [max_rows, embedding_len]
    float* normed;     // as hidden; also a block's output before its post-norm
    int* sequence_of;  // [max_rows]
    // The attention block and the MLP are never under way at once: they share memory.
    float* queries;   // [max_rows, q_len]
    float* keys;      // [max_rows, kv_len]
    float* values;    // as keys
    float* attended;  // as queries
    float* gate;      // [max_rows, ffn_len]
    float* up;        // as gate
    RopeAngles angles;
    PagedAttention attention;
  };

  // Calls body(row) for every row of the step, in a parallel loop if the work is worth one.
  template <typename Body>
  void for_each_row(int num_rows, int64_t values_per_row, const Body& body);
  void apply_norm(const Norm& norm, const float* x, int64_t len, float* out) const;
  // Prepares the norm of the hidden state's rows as the input of products.
  void prepare_normed(const Norm& norm);
  // hidden += post_norm(rows * weight + bias)
  void add_output(const Linear& linear, const Norm& post_norm, const float* rows);
  void finish_row(const AttentionWeights& weights, const KvSegment& kv, int row);

  const Isa isa_;
  const VectorOps& ops_;
  const ExecutorShape shape_;
  const uint64_t scratch_bytes_;
  ThreadPool pool_;
  LinearInput input_;
  AlignedMemory memory_;
  Scratch scratch_;  // over memory_
  Arrays arrays_;
  BatchRows batch_;
};

}  // namespace kvi::cpu
