// Plans: what a model, or a shape, would take and what fits.
#include "engine/plan.h"

#include <algorithm>
#include <cstring>

#include "capi/arguments.h"
#include "capi/engine_options.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr kvi_model_shape kDefaultShape = {
    .struct_size = sizeof(kvi_model_shape),
    .num_layers = 0,
    .num_heads = 0,
    .num_kv_heads = KVI_AUTO,
    .head_dim = KVI_AUTO,
    .embedding_len = 0,
    .ffn_len = 0,
    .vocab_size = 0,
    .num_experts = 1,
    .tied_embeddings = 0,
    .context_len = 4096,
    .window = 0,
    .num_window_layers = 0,
    .num_shared_layers = 0,
    .num_state_layers = 0,
    .state_bytes = 0,
    .weight_bits = 16,
    .weights_bytes = KVI_AUTO_BYTES,
};

constexpr kvi_plan_options kDefaultOptions = {
    .struct_size = sizeof(kvi_plan_options),
    .max_num_seqs = 16,
    .gpu_memory_utilization = 0.9,
    .device_memory_bytes = KVI_AUTO_BYTES,
    .kv_budget_bytes = KVI_AUTO_BYTES,
    .max_model_len = KVI_AUTO,
    .sequence_len = KVI_AUTO,
    .max_num_batched_tokens = 512,
    .block_size = 16,
    .kv_cache_dtype = nullptr,
    .kv_cache_dtype_size = KVI_ZERO_TERMINATED,
    .swap_space_bytes = uint64_t{4} << 30,
    .enable_prefix_caching = 1,
    .paused_sequences = 0,
    .prefix_len = 0,
    .prefix_users = 0,
    .num_threads = KVI_AUTO,
    .activations = KVI_ACTIVATIONS_INT8,
    .must_fit = 0,
};

std::optional<uint64_t> unless_auto_bytes(uint64_t value) {
  return value == KVI_AUTO_BYTES ? std::nullopt : std::optional(value);
}

uint32_t auto_unless(std::optional<uint32_t> value) { return value.value_or(KVI_AUTO); }

PlanOptions options_argument(const kvi_plan_options* options) {
  kvi_plan_options known = kDefaultOptions;
  if (options != nullptr) known = read_struct(options, kDefaultOptions, "options");
  const std::string_view kv_type = text_member(known.kv_cache_dtype, known.kv_cache_dtype_size,
                                               "kv_cache_dtype");
  PlanOptions result;
  result.gpu_memory_utilization = known.gpu_memory_utilization;
  result.device_memory_bytes = unless_auto_bytes(known.device_memory_bytes);
  result.kv_budget_bytes = unless_auto_bytes(known.kv_budget_bytes);
  result.max_model_len = unless_auto(known.max_model_len);
  result.sequence_len = unless_auto(known.sequence_len);
  result.max_num_seqs = known.max_num_seqs;
  result.max_num_batched_tokens = known.max_num_batched_tokens;
  result.block_size = known.block_size;
  result.kv_type = known.kv_cache_dtype == nullptr ? KvType::f16 : parse_kv_type(kv_type);
  result.enable_prefix_caching = flag_argument(known.enable_prefix_caching,
                                               "enable_prefix_caching");
  result.swap_space_bytes = known.swap_space_bytes;
  result.paused_sequences = known.paused_sequences;
  result.prefix_len = known.prefix_len;
  result.prefix_users = known.prefix_users;
  result.num_threads = unless_auto(known.num_threads);
  result.precision = precision_argument(known.activations);
  result.must_fit = flag_argument(known.must_fit, "must_fit") ? MustFit::yes : MustFit::no;
  return result;
}

ModelShape shape_argument(const kvi_model_shape* shape) {
  const kvi_model_shape known = read_struct(shape, kDefaultShape, "shape");
  ModelShape result;
  result.num_layers = known.num_layers;
  result.num_heads = known.num_heads;
  result.num_kv_heads = unless_auto(known.num_kv_heads);
  result.head_dim = unless_auto(known.head_dim);
  result.embedding_len = known.embedding_len;
  result.ffn_len = known.ffn_len;
  result.vocab_size = known.vocab_size;
  result.num_experts = known.num_experts;
  result.tied_embeddings = flag_argument(known.tied_embeddings, "tied_embeddings");
  result.context_len = known.context_len;
  result.weight_bits = known.weight_bits;
  result.weights_bytes = unless_auto_bytes(known.weights_bytes);
  result.window = known.window;
  result.num_window_layers = known.num_window_layers;
  result.num_shared_layers = known.num_shared_layers;
  result.num_state_layers = known.num_state_layers;
  result.state_bytes = known.state_bytes;
  return result;
}

Preset preset_argument(int32_t preset) {
  switch (preset) {
    case KVI_PRESET_THROUGHPUT: return Preset::throughput;
    case KVI_PRESET_LONG_CONTEXT: return Preset::long_context;
    case KVI_PRESET_LOW_MEMORY: return Preset::low_memory;
    default: reject_value("preset", preset, "one of KVI_PRESET_*");
  }
}

void write_preset(kvi_plan_options& options, Preset preset) {
  PlanOptions chosen;
  apply_preset(preset, chosen);
  options.gpu_memory_utilization = chosen.gpu_memory_utilization;
  options.max_num_seqs = chosen.max_num_seqs;
  options.max_model_len = auto_unless(chosen.max_model_len);
  options.sequence_len = auto_unless(chosen.sequence_len);
  options.max_num_batched_tokens = chosen.max_num_batched_tokens;
  options.block_size = chosen.block_size;
  options.must_fit = chosen.must_fit == MustFit::yes;
}

static_assert(KVI_LOWER_NOTHING == static_cast<int>(LowerFirst::nothing) &&
              KVI_LOWER_WEIGHTS == static_cast<int>(LowerFirst::weights));

void write_plan(kvi_plan* out, const Plan& plan) {
  kvi_plan result = {
      .struct_size = 0,
      .page_len = plan.page_len,
      .weights_bytes = plan.weights_bytes,
      .kv_bytes_per_token = plan.kv_bytes_per_token,
      .kv_bytes = plan.kv_bytes,
      .kv_bytes_per_sequence = plan.kv_bytes_per_sequence,
      .scratch_bytes = plan.scratch_bytes,
      .load_peak_bytes = plan.load_peak_bytes,
      .kv_bytes_per_page = plan.kv_bytes_per_page,
      .kv_prefill_bytes = plan.kv_prefill_bytes,
      .max_model_len = plan.max_model_len,
      .sequence_len = plan.sequence_len,
      .kv_budget_bytes = plan.kv_budget_bytes,
      .needed_bytes = plan.needed_bytes,
      .available_bytes = plan.available_bytes,
      .missing_bytes = plan.missing_bytes,
      .max_sequences = plan.max_sequences,
      .max_len = plan.max_len,
      .max_tokens = plan.max_tokens,
      .swap_bytes = plan.swap_bytes,
      .swap_sequences = plan.swap_sequences,
      .prefix_saved_bytes = plan.prefix_saved_bytes,
      .kv_exceeds_weights_len = plan.kv_exceeds_weights_len,
      .lower_to = plan.lower_to,
      .lower_first = static_cast<int32_t>(plan.lower_first),
      .kv_cache_dtype_runs = plan.kv_type_runs,
      .advice = {},
  };
  std::memcpy(result.advice, plan.advice.data(),
              std::min(plan.advice.size(), sizeof result.advice - 1));
  write_struct(out, result);
}

}  // namespace

extern "C" {

kvi_status kvi_model_shape_init(kvi_model_shape* shape, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(shape, struct_size, kDefaultShape); });
}

kvi_status kvi_plan_options_init(kvi_plan_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_plan_init(kvi_plan* plan, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(plan, struct_size, kvi_plan{}); });
}

kvi_status kvi_plan_options_preset(kvi_plan_options* options, int32_t preset, kvi_error** error) {
  return guarded(error, [&] {
    require(options, "options");
    kvi_plan_options known = read_struct(options, kDefaultOptions, "options");
    write_preset(known, preset_argument(preset));
    write_struct(options, known);
  });
}

kvi_status kvi_plan_model(const kvi_model* model, const kvi_plan_options* options, kvi_plan* plan,
                          kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    require_result(plan, "plan");
    write_plan(plan, plan_model(*model->model, options_argument(options)));
  });
}

kvi_status kvi_plan_shape(const kvi_model_shape* shape, const kvi_plan_options* options,
                          kvi_plan* plan, kvi_error** error) {
  return guarded(error, [&] {
    require(shape, "shape");
    require_result(plan, "plan");
    write_plan(plan, plan_shape(shape_argument(shape), options_argument(options)));
  });
}

}  // extern "C"
