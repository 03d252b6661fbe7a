// The fast paged attention of one executor: plans each step's work once, then launches it layer by layer.
//
// Work lists lie at fixed addresses, so that launches may be recorded into a graph and replayed with the
// lists of another step. Serves one segment of 16-bit keys and values of the usual head sizes, where a thread block may
// have 100 to 136 KiB of shared memory; the plain kernel has the rest.
//
// Not thread-safe; the executor's.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/attention_plan.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/launcher.h"
#include "cuda/paged_attention.h"

namespace kvi::cuda {

class FastAttention {
 public:
  // Distinct (heads, KV heads, head_dim, window) of a model's layers.
  static constexpr int kMostShapes = 4;
  // Steps whose work lists exist at once: one that runs, and what is enqueued behind it.
  static constexpr int kStepsAtOnce = 3;

  // launcher: outlives it.
  FastAttention(std::shared_ptr<const Device> device, Launcher& launcher,
                const ExecutorShape& shape);

  bool serves(const AttentionWeights& weights, std::span<const KvSegment> segments) const;

  // Plans the shapes seen so far and enqueues their lists. most_rows, most_sequences: what grids are made for until the
  // next call, the step's own or more (a graph's bucket).
  // Requires: of the steps before, at most kStepsAtOnce - 1 are under way.
  void begin_step(const BatchRows& batch, int most_rows, int most_sequences);
  // Makes room for a shape and plans this step for it. Allocates: call it for each layer before recording a graph.
  void prepare(const AttentionWeights& weights, const KvSegment& segment);

  // Enqueues the attention of a layer. Requires: serves; prepared; `tables` as FinishHeads got them.
  // queries: [num_rows, num_heads, head_dim] of the keys' type, normed and rotated; out: likewise, of out_format.
  // No allocation and no wait.
  void launch(const AttentionWeights& weights, const KvSegment& segment, const PageTables& tables,
              const void* queries, void* out, Format out_format) const;

  // Whether the step's batch has rows for either kernel: a graph serves steps of equal answers.
  bool has_decode() const { return has_decode_; }
  bool has_prefill() const { return has_prefill_; }

 private:
  // One shape's lists, on the device and as they are copied there.
  struct Lists {
    AttentionPlanShape shape;
    AttentionPlanLimits limits;  // of the executor
    AttentionPlan plan;
    AttentionPlanLimits grid;  // of the step
    std::unique_ptr<DeviceBuffer> on_device;
    std::array<std::unique_ptr<PinnedBuffer>, kStepsAtOnce> on_host;
    uint64_t decode_at = 0, prefill_at = 0, arrivals_at = 0, partials_at = 0;  // bytes
  };

  AttentionPlanShape plan_shape(const AttentionWeights& weights, int window) const;
  const Lists* find(const AttentionWeights& weights, int window) const;
  void plan(Lists& lists);
  bool fits(int head_dim) const;
  bool has_groups(int head_dim) const;
  TensorMap map_of(const KvSegment& segment, const Plane& plane) const;

  const std::shared_ptr<const Device> device_;
  Launcher& launcher_;
  const ExecutorShape shape_;
  std::vector<std::unique_ptr<Lists>> lists_;
  BatchRows batch_;
  int most_rows_ = 0, most_sequences_ = 0;
  int step_ = 0;  // modulo kStepsAtOnce
  bool has_decode_ = false, has_prefill_ = false;
};

}  // namespace kvi::cuda
