// Runs the layers of a step on the GPU: each op enqueues a few kernels, and head waits for the logits.
//
// One plain kernel for each piece of work; every result depends on its own row only.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/launcher.h"
#include "backend/cuda/step_inputs.h"
#include "backend/scratch.h"
#include "cuda/attention.h"
#include "cuda/rows.h"

namespace kvi::cuda {

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(std::shared_ptr<const Device> device, std::shared_ptr<const Kernels> kernels,
               const ExecutorShape& shape);
  ~CudaExecutor() override;

  static uint64_t scratch_bytes(const ExecutorShape& shape);
  uint64_t scratch_bytes() const override { return scratch_bytes(shape_); }

  void begin_step(const BatchRows& batch) override;
  void embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) override;
  void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) override;
  void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) override;
  void out_residual(const AttentionWeights& weights) override;
  void mlp(const MlpWeights& weights) override;
  void end_layers() override {}
  void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) override;

 private:
  // Everything that a step writes, in device memory.
  struct Arrays {
    Arrays(const ExecutorShape& shape, Scratch& scratch);

    float* hidden;  // [max_rows, embedding_len]
    float* normed;  // as hidden; also a block's output before its post-norm
    // The attention block, the MLP and the head are never under way at once: they share memory.
    float* queries;   // [max_rows, q_len]
    float* keys;      // [max_rows, kv_len]
    float* values;    // as keys
    float* attended;  // as queries
    float* gate;      // [max_rows, ffn_len]
    float* up;        // as gate
    float* logits;    // [kLogitRows, vocab_size]
    float* angles;    // [max_rows, head_dim]
  };

  static int logit_rows_at_once(const ExecutorShape& shape);
  void apply_norm(const Norm& norm, const float* x, const int32_t* rows, int num_rows, float* out,
                  bool adds);
  // The norm of the hidden state's rows; the rows themselves where there is none.
  const float* normed_hidden(const Norm& norm);
  void multiply(const Linear& linear, const float* x, int num_rows, float* out, bool adds);
  // hidden += post_norm(rows * weight + bias)
  void add_output(const Linear& linear, const Norm& post_norm, const float* rows);
  void prepare_angles(const Rope& rope);

  const std::shared_ptr<const Device> device_;
  Launcher launcher_;
  const ExecutorShape shape_;
  DeviceBuffer memory_;
  Scratch scratch_;  // over memory_
  Arrays arrays_;
  StepInputs inputs_;
  BatchRows batch_;
  const Rope* angles_of_ = nullptr;  // whose angles arrays_.angles holds in this step
};

}  // namespace kvi::cuda
