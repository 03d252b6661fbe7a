#include "engine/plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/error.h"
#include "base/os_cpu.h"
#include "base/text.h"
#include "cache/device_pages.h"
#include "cache/plan.h"
#include "engine/engine_shape.h"
#include "engine/validate.h"

namespace kvi {
namespace {

constexpr uint64_t kPlaneAlignment = 64;  // bytes, as tensor/layout.cc
constexpr double kMaxWeightsBytes = 0x1p60;

struct NamedKvType {
  const char* name;
  KvType type;
};
// vLLM's names and the short ones.
constexpr NamedKvType kKvTypes[] = {
    {"auto", KvType::f16},     {"f16", KvType::f16},       {"float16", KvType::f16},
    {"bf16", KvType::bf16},    {"bfloat16", KvType::bf16}, {"fp8", KvType::fp8},
    {"fp8_e4m3", KvType::fp8}, {"fp8_e5m2", KvType::fp8},  {"int8", KvType::int8},
    {"int4", KvType::int4},
};

// One head's K, or V, of one token. The narrow types have an f16 scale: for all of it, and for int4 one
// for each 32 values.
uint64_t head_bytes(KvType type, uint64_t head_dim) {
  switch (type) {
    case KvType::f16:
    case KvType::bf16: return 2 * head_dim;
    case KvType::fp8:
    case KvType::int8: return head_dim + 2;
    case KvType::int4: return (head_dim + 1) / 2 + 2 * ((head_dim + 31) / 32);
  }
  return 0;
}

// A shape with nothing left to choose.
struct PlannedModel {
  ModelShape shape;
  uint64_t head_dim, kv_heads;
  uint64_t weights_bytes, load_peak_bytes;
  const Backend* backend;

  uint64_t num_full_layers() const {
    return shape.num_layers - uint64_t{shape.num_window_layers} - shape.num_shared_layers -
           shape.num_state_layers;
  }
};

// Matrices and norms; what is small besides (biases, norms of heads) is left out.
double num_parameters(const ModelShape& shape, double head_dim, double kv_heads) {
  const double embedding = shape.embedding_len, experts = shape.num_experts;
  const double queries = shape.num_heads * head_dim;
  const double attention = embedding * (2 * queries + 2 * kv_heads * head_dim);
  const double router = shape.num_experts > 1 ? embedding * experts : 0;
  const double mlp = 3 * embedding * shape.ffn_len * experts + router;
  const double tables = (shape.tied_embeddings ? 1.0 : 2.0) * shape.vocab_size * embedding;
  return shape.num_layers * (attention + mlp + 2 * embedding) + tables + embedding;
}

PlannedModel planned_model(const ModelShape& shape, const Backend& backend) {
  PlannedModel model{.shape = shape,
                     .head_dim = shape.head_dim.value_or(shape.embedding_len / shape.num_heads),
                     .kv_heads = shape.num_kv_heads.value_or(shape.num_heads),
                     .weights_bytes = 0,
                     .load_peak_bytes = 0,
                     .backend = &backend};
  if (shape.weights_bytes) {
    model.weights_bytes = *shape.weights_bytes;
  } else {
    const double bytes = num_parameters(shape, static_cast<double>(model.head_dim),
                                        static_cast<double>(model.kv_heads)) *
                         shape.weight_bits / 8;
    if (bytes > kMaxWeightsBytes) {
      throw Error(Status::INVALID_ARGUMENT,
                  "the shape's weights would take more than 2^60 bytes; lower num_layers, ffn_len, "
                  "num_experts or weight_bits");
    }
    model.weights_bytes = static_cast<uint64_t>(std::ceil(bytes));
  }
  model.load_peak_bytes = model.weights_bytes;
  return model;
}

KvDemand kv_demand(const PlannedModel& model, const PlanOptions& options) {
  const uint64_t head = head_bytes(options.kv_type, model.head_dim);
  const uint64_t token = head * model.kv_heads;  // of K or of V
  const uint64_t plane = (token * options.block_size + kPlaneAlignment - 1) / kPlaneAlignment *
                         kPlaneAlignment;
  KvDemand demand;
  demand.page_len = options.block_size;
  demand.chunk = options.max_num_batched_tokens;
  demand.state_bytes = saturating_multiply(model.shape.num_state_layers, model.shape.state_bytes);
  const auto add_group = [&](uint64_t num_layers, uint64_t window) {
    if (num_layers == 0) return;
    demand.groups.push_back({.page_bytes = 2 * plane * num_layers,
                             .token_bytes = 2 * token * num_layers,
                             .window = window});
  };
  add_group(model.num_full_layers(), 0);
  add_group(model.shape.num_window_layers, model.shape.window);
  return demand;
}

EngineOptions engine_options(const PlanOptions& options, uint32_t max_model_len) {
  EngineOptions engine;
  engine.max_model_len = max_model_len;
  engine.max_sequences = options.max_num_seqs;
  engine.max_batch_tokens = options.max_num_batched_tokens;
  engine.page_len = options.block_size;
  engine.num_threads = options.num_threads;
  engine.precision = options.precision;
  return engine;
}

// What executor_shape needs of a model.
ModelConfig config_of(const PlannedModel& model) {
  static constexpr Family kByHand = {};
  ModelConfig config;
  config.family = &kByHand;
  config.embedding_len = static_cast<int>(model.shape.embedding_len);
  config.ffn_len = static_cast<int>(model.shape.ffn_len);
  config.num_heads = static_cast<int>(model.shape.num_heads);
  config.num_kv_heads = static_cast<int>(model.kv_heads);
  config.head_dim = static_cast<int>(model.head_dim);
  config.vocab_size = static_cast<int>(model.shape.vocab_size);
  config.context_len = static_cast<int>(model.shape.context_len);
  return config;
}

uint64_t scratch_bytes(const PlannedModel& model, const EngineOptions& engine) {
  const ExecutorShape shape = executor_shape(config_of(model), engine);
  return model.backend->scratch_bytes(shape, executor_options(engine)) + logits_bytes(shape);
}

class Planner {
 public:
  Planner(const PlannedModel& model, const PlanOptions& options)
      : model_(model), options_(options), demand_(kv_demand(model, options)) {
    if (demand_.groups.empty() && demand_.state_bytes == 0) {
      throw Error(Status::INVALID_ARGUMENT,
                  "state_bytes is 0; it must be at least 1 where no layer has K and V of its own");
    }
    plan_.page_len = options.block_size;
    plan_.max_model_len = options.max_model_len.value_or(model.shape.context_len);
    plan_.sequence_len = std::min(options.sequence_len.value_or(plan_.max_model_len),
                                  plan_.max_model_len);
    plan_.max_num_seqs = options.max_num_seqs;
  }

  Plan plan() {
    count_bytes();
    count_what_fits();
    count_swap_and_prefix();
    choose_what_to_lower();
    if (options_.must_fit == MustFit::yes && !plan_.fits) refuse();
    return std::move(plan_);
  }

 private:
  uint64_t scratch_for(uint32_t max_num_batched_tokens) const {
    EngineOptions engine = engine_options(options_, plan_.max_model_len);
    engine.max_batch_tokens = max_num_batched_tokens;
    return scratch_bytes(model_, engine);
  }

  void count_bytes() {
    plan_.weights_bytes = model_.weights_bytes;
    plan_.load_peak_bytes = model_.load_peak_bytes;
    plan_.scratch_bytes = scratch_for(options_.max_num_batched_tokens);
    plan_.kv_bytes_per_token = demand_.bytes_per_token();
    plan_.kv_bytes_per_page = demand_.bytes_per_page();
    plan_.kv_bytes_per_sequence = demand_.bytes_per_sequence(plan_.sequence_len);
    plan_.kv_prefill_bytes = demand_.prefill_bytes(plan_.sequence_len);
    plan_.kv_bytes = demand_.bytes_for(plan_.max_num_seqs, plan_.sequence_len);
    // An engine takes memory in granules, whose size follows from its budget.
    demand_.granule_bytes = granule_bytes_for(options_.kv_budget_bytes.value_or(plan_.kv_bytes));
    plan_.kv_bytes = demand_.bytes_for(plan_.max_num_seqs, plan_.sequence_len);
    plan_.kv_exceeds_weights_len = demand_.len_exceeding(plan_.weights_bytes);
    plan_.kv_type_runs = options_.kv_type == KvType::f16;
  }

  void count_what_fits() {
    const uint64_t fixed = saturating_add(plan_.weights_bytes, plan_.scratch_bytes);
    if (options_.kv_budget_bytes) {
      plan_.available_bytes = plan_.kv_budget_bytes = *options_.kv_budget_bytes;
      plan_.needed_bytes = plan_.kv_bytes;
    } else {
      const auto device = static_cast<double>(
          options_.device_memory_bytes ? *options_.device_memory_bytes : total_memory_bytes());
      plan_.available_bytes = static_cast<uint64_t>(device * options_.gpu_memory_utilization);
      plan_.kv_budget_bytes = plan_.available_bytes - std::min(plan_.available_bytes, fixed);
      plan_.needed_bytes = saturating_add(fixed, plan_.kv_bytes);
    }
    plan_.fits = plan_.needed_bytes <= plan_.available_bytes;
    plan_.missing_bytes = plan_.needed_bytes - std::min(plan_.needed_bytes, plan_.available_bytes);
    plan_.max_sequences = demand_.max_sequences(plan_.kv_budget_bytes, plan_.sequence_len);
    plan_.max_len = demand_.max_len(plan_.kv_budget_bytes, plan_.max_num_seqs);
    plan_.max_tokens = static_cast<uint64_t>(static_cast<double>(plan_.kv_budget_bytes) /
                                             static_cast<double>(plan_.kv_bytes_per_sequence) *
                                             plan_.sequence_len);
  }

  void count_swap_and_prefix() {
    plan_.swap_bytes = saturating_multiply(options_.paused_sequences, plan_.kv_bytes_per_sequence);
    plan_.swap_sequences = options_.swap_space_bytes / plan_.kv_bytes_per_sequence;
    if (!options_.enable_prefix_caching) return;
    plan_.prefix_saved_bytes = demand_.shared_prefix_bytes(options_.prefix_len,
                                                           options_.prefix_users);
  }

  // What costs least comes first: with fewer sequences the others wait, with a smaller max_model_len
  // requests are refused, and other weights are another model.
  void choose_what_to_lower() {
    const std::string wish = concat(plan_.max_num_seqs,
                                    plan_.max_num_seqs == 1 ? " sequence of " : " sequences of ",
                                    plan_.sequence_len, " tokens");
    if (plan_.fits) {
      plan_.advice = concat(wish, plan_.max_num_seqs == 1 ? " fits; " : " fit; ",
                            format_bytes(plan_.available_bytes - plan_.needed_bytes), " are left");
      return;
    }
    plan_.advice = concat(wish, plan_.max_num_seqs == 1 ? " does" : " do",
                          " not fit: ", format_bytes(plan_.missing_bytes), " are missing; ");
    if (plan_.max_sequences > 0) {
      lower(LowerFirst::max_num_seqs, plan_.max_sequences);
      plan_.advice += concat("lower max_num_seqs to ", plan_.lower_to);
    } else if (plan_.max_len > 0) {
      lower(LowerFirst::max_model_len, plan_.max_len);
      plan_.advice += concat("lower max_model_len to ", plan_.lower_to);
    } else if (const uint32_t tokens = batched_tokens_for(plan_.max_num_seqs, plan_.sequence_len);
               tokens > 0) {
      lower(LowerFirst::max_num_batched_tokens, tokens);
      plan_.advice += concat("lower max_num_batched_tokens to ", plan_.lower_to);
    } else if (const uint64_t weights = weights_beside(plan_.max_num_seqs, plan_.sequence_len,
                                                       options_.max_num_batched_tokens);
               weights > 0) {
      lower(LowerFirst::weights, weights);
      plan_.advice += concat("use weights of at most ", format_bytes(plan_.lower_to));
    } else {
      choose_several();
    }
  }

  // Where no option alone makes it fit: what frees most, and in words all that it takes.
  void choose_several() {
    const uint32_t tokens = batched_tokens_for(1, 1);
    if (tokens == 0 && options_.kv_budget_bytes) {
      lower(LowerFirst::max_model_len, 0);
      plan_.advice += concat("kv_budget_bytes must be at least ", demand_.bytes_for(1, 1),
                             ", for one page of each layer group");
      return;
    }
    plan_.advice += "no option alone is enough: ";
    if (tokens == 0) {
      lower(LowerFirst::weights, 0);
      plan_.advice += concat("use weights of at most ", format_bytes(weights_beside(1, 1, 1)),
                             ", and lower max_num_seqs, max_model_len and max_num_batched_tokens");
      return;
    }
    lower(what_frees_most(), 0);
    std::vector<std::string> all;
    const auto add = [&](const char* name, uint64_t from, uint64_t to) {
      if (to < from) all.push_back(concat(name, " to ", to));
    };
    add("max_num_seqs", plan_.max_num_seqs, 1);
    add("max_model_len", plan_.sequence_len,
        demand_with(tokens).max_len(kv_budget_with(tokens), 1));
    add("max_num_batched_tokens", options_.max_num_batched_tokens, tokens);
    for (size_t i = 0; i < all.size(); ++i) {
      plan_.advice += concat(i == 0 ? "lower " : i + 1 < all.size() ? ", " : " and ", all[i]);
    }
  }

  LowerFirst what_frees_most() const {
    const uint64_t now = bytes_beside_weights(plan_.max_num_seqs, plan_.sequence_len,
                                              options_.max_num_batched_tokens);
    const auto freed = [&](uint64_t num_sequences, uint64_t len, uint32_t tokens) {
      return now - std::min(now, bytes_beside_weights(num_sequences, len, tokens));
    };
    const uint64_t by_count = freed(1, plan_.sequence_len, options_.max_num_batched_tokens);
    const uint64_t by_len = freed(plan_.max_num_seqs, 1, options_.max_num_batched_tokens);
    const uint64_t by_tokens = freed(plan_.max_num_seqs, plan_.sequence_len, 1);
    if (by_tokens > std::max(by_count, by_len)) return LowerFirst::max_num_batched_tokens;
    return by_len > by_count ? LowerFirst::max_model_len : LowerFirst::max_num_seqs;
  }

  void lower(LowerFirst what, uint64_t to) {
    plan_.lower_first = what;
    plan_.lower_to = to;
  }

  KvDemand demand_with(uint32_t max_num_batched_tokens) const {
    KvDemand demand = demand_;
    demand.chunk = max_num_batched_tokens;
    return demand;
  }

  // Of what a plan compares with available_bytes.
  uint64_t bytes_beside_weights(uint64_t num_sequences, uint64_t len,
                                uint32_t max_num_batched_tokens) const {
    const uint64_t kv = demand_with(max_num_batched_tokens).bytes_for(num_sequences, len);
    if (options_.kv_budget_bytes) return kv;
    return saturating_add(scratch_for(max_num_batched_tokens), kv);
  }

  uint64_t kv_budget_with(uint32_t max_num_batched_tokens) const {
    if (options_.kv_budget_bytes) return *options_.kv_budget_bytes;
    const uint64_t fixed = saturating_add(plan_.weights_bytes, scratch_for(max_num_batched_tokens));
    return plan_.available_bytes - std::min(plan_.available_bytes, fixed);
  }

  // The most, of halves of what is wished, with which the sequences fit; 0: none.
  uint32_t batched_tokens_for(uint64_t num_sequences, uint64_t len) const {
    uint32_t tokens = options_.max_num_batched_tokens;
    while (tokens > 0 &&
           demand_with(tokens).bytes_for(num_sequences, len) > kv_budget_with(tokens)) {
      tokens /= 2;
    }
    return tokens;
  }

  // The most weights with which the rest fits; 0: none, or the KV budget was given.
  uint64_t weights_beside(uint64_t num_sequences, uint64_t len,
                          uint32_t max_num_batched_tokens) const {
    if (options_.kv_budget_bytes) return 0;
    const uint64_t besides = bytes_beside_weights(num_sequences, len, max_num_batched_tokens);
    return plan_.available_bytes - std::min(plan_.available_bytes, besides);
  }

  [[noreturn]] void refuse() const {
    throw Error(Status::EXHAUSTED, concat(plan_.advice, " (", plan_.missing_bytes,
                                          " bytes are missing: ", plan_.needed_bytes,
                                          " are needed and ", plan_.available_bytes, " available)"))
        .amounts(plan_.needed_bytes, plan_.available_bytes);
  }

  const PlannedModel& model_;
  const PlanOptions& options_;
  KvDemand demand_;
  Plan plan_;
};

}  // namespace

KvType parse_kv_type(std::string_view name) {
  for (const NamedKvType& known : kKvTypes) {
    if (name == known.name) return known.type;
  }
  throw Error(Status::INVALID_ARGUMENT,
              concat("kv_cache_dtype is ", quoted(name),
                     "; it must be one of auto, f16, bf16, fp8, int8, int4"));
}

void apply_preset(Preset preset, PlanOptions& options) {
  options.must_fit = MustFit::yes;
  options.sequence_len.reset();
  options.max_model_len.reset();
  switch (preset) {
    case Preset::throughput:
      options.gpu_memory_utilization = 0.95;
      options.max_num_seqs = 256;
      options.sequence_len = 1024;
      options.max_num_batched_tokens = 2048;
      options.block_size = 16;
      break;
    case Preset::long_context:
      options.gpu_memory_utilization = 0.9;
      options.max_num_seqs = 16;
      options.max_model_len = 128'000;
      options.max_num_batched_tokens = 2048;
      options.block_size = 64;
      break;
    case Preset::low_memory:
      options.gpu_memory_utilization = 0.8;
      options.max_num_seqs = 4;
      options.sequence_len = 2048;
      options.max_num_batched_tokens = 128;
      options.block_size = 16;
      break;
  }
}

Plan plan_model(const LoadedModel& model, const PlanOptions& options) {
  validate(options);
  const ModelConfig& config = model.config();
  // Throws where the model's positions end before max_model_len.
  resolved_model_len(config,
                     engine_options(options, options.max_model_len.value_or(
                                                 static_cast<uint32_t>(config.context_len))));
  ModelShape shape;
  shape.num_layers = static_cast<uint32_t>(config.num_layers);
  shape.num_heads = static_cast<uint32_t>(config.num_heads);
  shape.num_kv_heads = static_cast<uint32_t>(config.num_kv_heads);
  shape.head_dim = static_cast<uint32_t>(config.head_dim);
  shape.embedding_len = static_cast<uint32_t>(config.embedding_len);
  shape.ffn_len = static_cast<uint32_t>(config.ffn_len);
  shape.vocab_size = static_cast<uint32_t>(config.vocab_size);
  shape.context_len = static_cast<uint32_t>(config.context_len);
  shape.window = static_cast<uint32_t>(config.window);
  shape.num_window_layers = static_cast<uint32_t>(config.num_window_layers());
  shape.weights_bytes = model.weights_bytes();
  PlannedModel planned = planned_model(shape, model.backend());
  planned.load_peak_bytes = model.load_peak_bytes();
  return Planner(planned, options).plan();
}

Plan plan_shape(const ModelShape& shape, const PlanOptions& options) {
  validate(options);
  validate(shape);
  const std::unique_ptr<Backend> backend = cpu::make_cpu_backend(cpu::best_isa());
  const PlannedModel planned = planned_model(shape, *backend);
  return Planner(planned, options).plan();
}

}  // namespace kvi
