// Options of models, engines, sessions and requests; each starts as kvinfer.h states its defaults.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_OPTIONS_HPP_
#define KVINFER_OPTIONS_HPP_

#include <kvinfer/cache.hpp>
#include <kvinfer/errors.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvinfer {

enum class LogLevel : int32_t { error, warning, info, debug };
// Nobody is there to catch what it throws: that is dropped.
using LogFunction = std::function<void(LogLevel, const char* message)>;
// With bytes done and in all; false aborts.
using ProgressFunction = std::function<bool(uint64_t done, uint64_t total)>;

namespace detail {

inline void KVI_CALL call_log(void* user, int32_t level, const char* message) {
  Callback<LogFunction>(*static_cast<LogFunction*>(user)).call([&](const LogFunction& log) {
    log(static_cast<LogLevel>(level), message);
    return KVI_CONTINUE;
  });
}
inline int32_t KVI_CALL call_progress(void* user, uint64_t done, uint64_t total) {
  return static_cast<Callback<ProgressFunction>*>(user)->call(
      [&](const ProgressFunction& progress) {
        return progress(done, total) ? KVI_CONTINUE : KVI_CANCEL;
      });
}
inline void KVI_CALL destroy_log(void* user) { delete static_cast<LogFunction*>(user); }

// Gives options a log function of their own, which the library destroys.
template <typename Options>
void attach_log(Options& options, const LogFunction& log) {
  if (!log) return;
  options.log = call_log;
  options.log_user = new LogFunction(log);
  options.log_destroy = destroy_log;
}

}  // namespace detail

// What ModelOptions::device counts: the devices of all backends, or of one.
enum class Backend : int32_t {
  of_device = KVI_BACKEND_OF_DEVICE,
  automatic = KVI_BACKEND_AUTO,
  cpu = KVI_BACKEND_CPU,
  cuda = KVI_BACKEND_CUDA
};

class ModelOptions {
 public:
  ModelOptions() { kvi_model_options_init(&options_, sizeof options_); }
  ModelOptions& metadata_only() { return options_.load = KVI_LOAD_METADATA, *this; }
  ModelOptions& device(uint32_t index) { return options_.device = index, *this; }
  ModelOptions& backend(Backend kind) {
    return options_.backend = static_cast<int32_t>(kind), *this;
  }
  ModelOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  // Called on the thread that opens, which throws what it throws.
  ModelOptions& progress(ProgressFunction function) {
    return progress_ = std::move(function), *this;
  }
  ModelOptions& log(LogFunction function) { return log_ = std::move(function), *this; }

  // Calls use(const kvi_model_options *), for one call of kvi_model_open; points into *this.
  template <typename Use>
  auto with_raw(const Use& use) const {
    kvi_model_options options = options_;
    detail::Callback<ProgressFunction> progress(progress_);
    if (progress_) {
      options.progress = detail::call_progress;
      options.progress_user = &progress;
    }
    detail::attach_log(options, log_);
    auto result = use(&options);
    progress.rethrow();
    return result;
  }

 private:
  kvi_model_options options_;
  ProgressFunction progress_;
  LogFunction log_;
};

class EngineOptions {
 public:
  EngineOptions() { kvi_engine_options_init(&options_, sizeof options_); }
  EngineOptions& max_model_len(uint32_t tokens) { return options_.max_model_len = tokens, *this; }
  EngineOptions& max_sequences(uint32_t count) { return options_.max_sequences = count, *this; }
  EngineOptions& max_batch_tokens(uint32_t n) { return options_.max_batch_tokens = n, *this; }
  EngineOptions& max_queued(uint32_t count) { return options_.max_queued = count, *this; }
  EngineOptions& page_len(uint32_t tokens) { return options_.page_len = tokens, *this; }
  EngineOptions& num_threads(uint32_t count) { return options_.num_threads = count, *this; }
  EngineOptions& exact() { return options_.activations = KVI_ACTIVATIONS_F32, *this; }
  EngineOptions& kv_budget_bytes(uint64_t n) { return options_.kv_budget_bytes = n, *this; }
  EngineOptions& kv_budget_max_bytes(uint64_t n) { return options_.kv_budget_max_bytes = n, *this; }
  EngineOptions& kv_grow_at(double share) { return options_.kv_grow_at = share, *this; }
  EngineOptions& kv_grow_factor(double factor) { return options_.kv_grow_factor = factor, *this; }
  // The budget lives at least until the engine has been made.
  EngineOptions& shared_budget(const Budget& budget) {
    has_shared_budget_ = true;
    return options_.shared_budget = budget.raw(), *this;
  }
  EngineOptions& prefix_caching(bool value) { return options_.prefix_caching = value, *this; }
  EngineOptions& cache_events(uint32_t count) { return options_.cache_events = count, *this; }
  EngineOptions& eviction_policy(std::string name) {
    return eviction_policy_ = std::move(name), *this;
  }
  EngineOptions& tenant_share(double share) { return options_.tenant_share = share, *this; }
  EngineOptions& cache_secret(std::string bytes) { return secret_ = std::move(bytes), *this; }
  EngineOptions& host_cache_bytes(uint64_t n) { return options_.host_cache_bytes = n, *this; }
  EngineOptions& disk_cache_bytes(uint64_t n) { return options_.disk_cache_bytes = n, *this; }
  EngineOptions& disk_cache_folder(std::string path) { return folder_ = std::move(path), *this; }
  EngineOptions& log(LogFunction function) { return log_ = std::move(function), *this; }

  // For one call of kvi_engine_create or kvi_engine_open; points into *this.
  kvi_engine_options raw() const {
    kvi_engine_options options = without_log();
    detail::attach_log(options, log_);
    return options;
  }
  // What kvi_engine_options cannot say.
  Result<void> check() const {
    const auto has_nul = [](const std::optional<std::string>& text) {
      return text && text->find('\0') != std::string::npos;
    };
    const char* const wrong = has_shared_budget_ && options_.shared_budget == nullptr
                                  ? "shared_budget has been moved from"
                              : has_nul(eviction_policy_) ? "eviction_policy contains a NUL byte"
                              : has_nul(folder_)          ? "disk_cache_folder contains a NUL byte"
                                                          : nullptr;
    if (wrong == nullptr) return {};
    return Error(Status::INVALID_ARGUMENT, wrong);
  }
  kvi_engine_options without_log() const {
    kvi_engine_options options = options_;
    if (eviction_policy_) options.eviction_policy = eviction_policy_->c_str();
    if (folder_) options.disk_cache_folder = folder_->c_str();
    options.cache_secret = secret_.data();
    options.cache_secret_size = secret_.size();
    return options;
  }

 private:
  kvi_engine_options options_;
  bool has_shared_budget_ = false;
  std::optional<std::string> eviction_policy_, folder_;
  std::string secret_;
  LogFunction log_;
};

class GenerateOptions {
 public:
  GenerateOptions() { kvi_generate_options_init(&options_, sizeof options_); }
  static GenerateOptions greedy(uint32_t max_tokens) {
    return GenerateOptions().max_tokens(max_tokens).temperature(0);
  }

  // 0: only compute what the session holds, so that a later answer begins at once.
  GenerateOptions& max_tokens(uint32_t count) { return options_.max_tokens = count, *this; }
  GenerateOptions& temperature(float value) { return options_.temperature = value, *this; }
  GenerateOptions& top_k(uint32_t count) { return options_.top_k = count, *this; }
  GenerateOptions& top_p(float value) { return options_.top_p = value, *this; }
  GenerateOptions& min_p(float value) { return options_.min_p = value, *this; }
  GenerateOptions& repetition_penalty(float v) { return options_.repetition_penalty = v, *this; }
  GenerateOptions& presence_penalty(float v) { return options_.presence_penalty = v, *this; }
  GenerateOptions& frequency_penalty(float v) { return options_.frequency_penalty = v, *this; }
  GenerateOptions& top_logprobs(int32_t count) { return options_.top_logprobs = count, *this; }
  GenerateOptions& seed(uint64_t value) { return options_.seed = value, *this; }
  GenerateOptions& ignore_eos(bool value = true) { return options_.ignore_eos = value, *this; }
  GenerateOptions& stop(std::string text) { return stops_.push_back(std::move(text)), *this; }
  GenerateOptions& bias(int32_t token, float v) { return biases_.push_back({token, v}), *this; }
  GenerateOptions& timeout(Milliseconds limit) {
    return options_.timeout_ms = detail::timeout(limit), *this;
  }
  // Instead of the session's.
  GenerateOptions& priority(int32_t value) { return options_.priority = value, *this; }
  // What Stream::user, and kvi_request_user in a loop around Engine::wait, give back.
  GenerateOptions& user(void* object) { return options_.user = object, *this; }

  // Calls use(const kvi_generate_options *), which points into *this.
  template <typename Use>
  auto with_raw(const Use& use) const {
    std::vector<kvi_stop_text> stops;
    for (const std::string& stop : stops_) stops.push_back({stop.data(), stop.size()});
    kvi_generate_options options = options_;
    options.stops = stops.data();
    options.num_stops = static_cast<uint32_t>(stops.size());
    options.biases = biases_.data();
    options.num_biases = static_cast<uint32_t>(biases_.size());
    return use(&options);
  }

 private:
  kvi_generate_options options_;
  std::vector<std::string> stops_;
  std::vector<kvi_logit_bias> biases_;
};

class SessionOptions {
 public:
  SessionOptions() { kvi_session_options_init(&options_, sizeof options_); }
  SessionOptions& priority(int32_t value) { return options_.priority = value, *this; }
  // Any bytes.
  SessionOptions& tenant(std::string name) { return tenant_ = std::move(name), *this; }
  SessionOptions& reads_shared(bool value) { return options_.reads_shared = value, *this; }
  SessionOptions& caches(bool value) { return options_.caches = value, *this; }

  // Points into *this.
  kvi_session_options raw() const {
    kvi_session_options options = options_;
    options.tenant = tenant_.data();
    options.tenant_size = tenant_.size();
    return options;
  }

 private:
  kvi_session_options options_;
  std::string tenant_;
};

}  // namespace kvinfer

#endif  // KVINFER_OPTIONS_HPP_
