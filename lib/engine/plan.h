// How much memory a model would take and what fits, from its metadata or from a shape given by hand:
// the numbers of an engine that does not exist yet. kvi_plan in kvinfer.h states what each means.
//
// It joins sizes of weights and scratch to the arithmetic of cache/plan.h; it loads no weights and
// allocates nothing on a device.
//
// Thread-safe: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "engine/loaded_model.h"

namespace kvi {

// As kvi_model_shape.
struct ModelShape {
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;
  std::optional<uint32_t> num_kv_heads;  // nullopt: num_heads
  std::optional<uint32_t> head_dim;      // nullopt: embedding_len / num_heads
  uint32_t embedding_len = 0;
  uint32_t ffn_len = 0;
  uint32_t vocab_size = 0;
  uint32_t num_experts = 1;
  bool tied_embeddings = false;
  uint32_t context_len = 4096;
  double weight_bits = 16;
  std::optional<uint64_t> weights_bytes;  // nullopt: from the shape and weight_bits
  uint32_t window = 0;
  uint32_t num_window_layers = 0;
  uint32_t num_shared_layers = 0;
  uint32_t num_state_layers = 0;
  uint64_t state_bytes = 0;
};

enum class KvType { f16, bf16, fp8, int8, int4 };
// "auto" is f16. Throws INVALID_ARGUMENT with the names that there are.
KvType parse_kv_type(std::string_view name);

enum class MustFit { no, yes };

// As kvi_plan_options.
struct PlanOptions {
  double gpu_memory_utilization = 0.9;
  std::optional<uint64_t> device_memory_bytes;  // nullopt: this machine's
  std::optional<uint64_t> kv_budget_bytes;      // nullopt: what utilization leaves
  std::optional<uint32_t> max_model_len;        // nullopt: the model's context
  std::optional<uint32_t> sequence_len;         // nullopt: max_model_len
  uint32_t max_num_seqs = 16;
  uint32_t max_num_batched_tokens = 512;
  uint32_t block_size = 16;
  KvType kv_type = KvType::f16;
  bool enable_prefix_caching = true;
  uint64_t swap_space_bytes = uint64_t{4} << 30;
  uint32_t paused_sequences = 0;
  uint32_t prefix_len = 0;
  uint32_t prefix_users = 0;
  std::optional<uint32_t> num_threads;  // nullopt: the device's default
  Precision precision = Precision::int8_activations;
  MustFit must_fit = MustFit::no;
};

enum class Preset { throughput, long_context, low_memory };
void apply_preset(Preset preset, PlanOptions& options);

enum class LowerFirst { nothing, max_num_seqs, max_model_len, max_num_batched_tokens, weights };

// As kvi_plan.
struct Plan {
  uint32_t page_len = 0, max_model_len = 0, sequence_len = 0, max_num_seqs = 0;
  uint64_t weights_bytes = 0, load_peak_bytes = 0, scratch_bytes = 0;
  uint64_t kv_bytes_per_token = 0, kv_bytes_per_page = 0;
  uint64_t kv_bytes_per_sequence = 0, kv_prefill_bytes = 0, kv_bytes = 0;
  bool fits = false, kv_type_runs = false;
  uint64_t kv_budget_bytes = 0, needed_bytes = 0, available_bytes = 0, missing_bytes = 0;
  uint64_t max_sequences = 0, max_len = 0, max_tokens = 0;
  uint64_t swap_bytes = 0, swap_sequences = 0;
  uint64_t prefix_saved_bytes = 0, kv_exceeds_weights_len = 0;
  LowerFirst lower_first = LowerFirst::nothing;
  uint64_t lower_to = 0;
  std::string advice;
};

// Throw INVALID_ARGUMENT naming the field and its range, EXHAUSTED where it must fit and does not,
// UNSUPPORTED where the model's metadata do not suffice.
Plan plan_model(const LoadedModel& model, const PlanOptions& options);
Plan plan_shape(const ModelShape& shape, const PlanOptions& options);

}  // namespace kvi
