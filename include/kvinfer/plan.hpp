// Plans: how much memory a model needs, and what fits.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_PLAN_HPP_
#define KVINFER_PLAN_HPP_

#include <kvinfer/errors.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace kvinfer {

enum class Preset : int32_t {
  throughput = KVI_PRESET_THROUGHPUT,
  long_context = KVI_PRESET_LONG_CONTEXT,
  low_memory = KVI_PRESET_LOW_MEMORY,
};

// kvi_plan_options says what each means.
class PlanOptions {
 public:
  PlanOptions() { kvi_plan_options_init(&options_, sizeof options_); }
  explicit PlanOptions(Preset preset) : PlanOptions() {
    kvi_plan_options_preset(&options_, static_cast<int32_t>(preset), nullptr);
  }

  PlanOptions& max_num_seqs(uint32_t count) { return options_.max_num_seqs = count, *this; }
  PlanOptions& gpu_memory_utilization(double share) {
    return options_.gpu_memory_utilization = share, *this;
  }
  PlanOptions& device_memory_bytes(uint64_t n) { return options_.device_memory_bytes = n, *this; }
  PlanOptions& kv_budget_bytes(uint64_t n) { return options_.kv_budget_bytes = n, *this; }
  PlanOptions& max_model_len(uint32_t tokens) { return options_.max_model_len = tokens, *this; }
  PlanOptions& sequence_len(uint32_t tokens) { return options_.sequence_len = tokens, *this; }
  PlanOptions& max_num_batched_tokens(uint32_t n) {
    return options_.max_num_batched_tokens = n, *this;
  }
  PlanOptions& block_size(uint32_t tokens) { return options_.block_size = tokens, *this; }
  PlanOptions& kv_cache_dtype(std::string name) { return kv_cache_dtype_ = std::move(name), *this; }
  PlanOptions& enable_prefix_caching(bool value) {
    return options_.enable_prefix_caching = value, *this;
  }
  PlanOptions& swap_space_bytes(uint64_t n) { return options_.swap_space_bytes = n, *this; }
  PlanOptions& paused_sequences(uint32_t count) { return options_.paused_sequences = count, *this; }
  PlanOptions& prefix(uint32_t tokens, uint32_t users) {
    options_.prefix_len = tokens;
    return options_.prefix_users = users, *this;
  }
  PlanOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  PlanOptions& exact() { return options_.activations = KVI_ACTIVATIONS_F32, *this; }
  PlanOptions& must_fit(bool value = true) { return options_.must_fit = value, *this; }

  // Points into *this.
  kvi_plan_options raw() const {
    kvi_plan_options options = options_;
    options.kv_cache_dtype = kv_cache_dtype_.data();
    options.kv_cache_dtype_size = kv_cache_dtype_.size();
    return options;
  }

 private:
  kvi_plan_options options_;
  std::string kv_cache_dtype_ = "auto";
};

namespace detail {

template <typename Call>
Result<kvi_plan> plan(const PlanOptions& options, const Call& call) {
  kvi_plan plan;
  kvi_plan_init(&plan, sizeof plan);
  const kvi_plan_options raw = options.raw();
  return get(plan, [&](kvi_plan& out, kvi_error** error) { return call(&raw, &out, error); });
}

}  // namespace detail

// A prepared kvi_model_shape, to be filled in for try_plan.
inline kvi_model_shape model_shape() {
  kvi_model_shape shape;
  kvi_model_shape_init(&shape, sizeof shape);
  return shape;
}
inline Result<kvi_plan> try_plan(const kvi_model_shape& shape, const PlanOptions& options = {}) {
  return detail::plan(options, [&](const kvi_plan_options* known, kvi_plan* out, kvi_error** e) {
    return kvi_plan_shape(&shape, known, out, e);
  });
}
#if KVINFER_EXCEPTIONS
inline kvi_plan plan(const kvi_model_shape& shape, const PlanOptions& options = {}) {
  return try_plan(shape, options).value();
}
#endif

}  // namespace kvinfer

#endif  // KVINFER_PLAN_HPP_
