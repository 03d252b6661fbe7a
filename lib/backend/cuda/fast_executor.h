// Runs the layers of a step fast: 16-bit activations on tensor cores, and steps that only decode as graphs.
//
// The hidden state stays f32; what a matrix product reads is rounded to the type that its weights want. Launches of
// a step with few rows are noted the first time and run as one graph afterwards: so an executor serves one model.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cuda/attention.h"
#include "backend/cuda/choice_inputs.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/fast_linear.h"
#include "backend/cuda/launcher.h"
#include "backend/cuda/step_inputs.h"
#include "backend/scratch.h"
#include "cuda/half_rows.h"

namespace kvi::cuda {

class FastExecutor final : public Executor {
 public:
  FastExecutor(std::shared_ptr<const Device> device, std::shared_ptr<const Kernels> kernels,
               const ExecutorShape& shape);
  ~FastExecutor() override;

  static uint64_t scratch_bytes(const ExecutorShape& shape);
  uint64_t scratch_bytes() const override { return scratch_bytes(shape_); }

  void begin_step(const BatchRows& batch) override;
  void embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) override;
  void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) override;
  void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) override;
  void out_residual(const AttentionWeights& weights) override;
  void mlp(const MlpWeights& weights) override;
  void end_layers() override;
  void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) override;
  bool can_choose() const override { return true; }
  void choose(const HeadWeights& weights, std::span<const TokenChoice> choices,
              std::span<const LogitEdit> edits, std::span<int32_t> tokens) override;

 private:
  // Everything that a step writes, in device memory.
  struct Arrays {
    Arrays(const ExecutorShape& shape, Scratch& scratch);

    float* hidden;     // [max_rows, embedding_len]
    float* block_out;  // as hidden: a block's output before its post-norm
    uint16_t* normed;  // as hidden
    float* angles;     // [max_rows, head_dim]
    FastLinear::Room room;
    // The attention block, the MLP and the head are never under way at once: they share memory.
    float* queries;          // [max_rows, q_len]
    float* keys;             // [max_rows, kv_len]
    float* values;           // as keys
    uint16_t* half_queries;  // as queries
    uint16_t* attended;      // as queries
    uint16_t* active;        // [max_rows, ffn_len]
    float* logits;           // [logit rows at once, vocab_size]
  };
  // A step of so many rows, each of a sequence of its own, as one graph.
  struct RecordedStep {
    LaunchList launches;
    std::unique_ptr<LaunchGraph> graph;  // nullptr until all are noted
  };

  static int logit_rows_at_once(const ExecutorShape& shape);
  // Rows of the hidden state, normed and rounded to what the weight's product reads.
  const uint16_t* normed(const Norm& norm, const Matrix& weight, const int32_t* rows, int num_rows);
  void project(const Norm& norm, std::initializer_list<FastLinear::Product> products);
  void prepare_angles(const Rope& rope);
  // hidden += post_norm(rows * weight + bias)
  void add_output(const Linear& linear, const Norm& post_norm, const uint16_t* rows);
  // Of rows [first, first + num_rows) of the list on the device, in arrays_.logits.
  void compute_logits(const HeadWeights& weights, const int32_t* rows, int num_rows);

  const std::shared_ptr<const Device> device_;
  const ExecutorShape shape_;
  Launcher launcher_;
  DeviceBuffer memory_;
  Scratch scratch_;  // over memory_
  Arrays arrays_;
  StepInputs inputs_;
  ChoiceInputs choice_inputs_;
  FastLinear linear_;
  FastAttention attention_;
  BatchRows batch_;
  int num_rows_ = 0;  // of this step, with those that only fill it up
  // A step has run, so what is allocated at first use is there; and the fast kernels had all of its attention.
  bool may_record_ = false;
  // Larger steps take long enough to enqueue the next one meanwhile; less where other ways to multiply, which cannot be
  // noted, are faster.
  int most_recorded_rows_ = 64;
  bool is_all_fast_ = true;               // in this step, so far
  const Rope* angles_of_ = nullptr;       // whose angles arrays_.angles holds in this step
  std::map<int, RecordedStep> recorded_;  // by rows
  RecordedStep* replayed_ = nullptr;      // of this step: its launches are not made again
  RecordedStep* noted_ = nullptr;         // of this step: its launches are noted
};

}  // namespace kvi::cuda
