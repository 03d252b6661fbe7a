// Engines: creation, end, waiting, counters.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/os_cpu.h"
#include "capi/arguments.h"
#include "capi/engine_options.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/log_sink.h"
#include "capi/versioned.h"
#include "engine/validate.h"

using namespace kvi;
using namespace kvi::capi;

namespace kvi::capi {
namespace {

const kvi_engine_options kDefaultOptions = {
    .struct_size = sizeof(kvi_engine_options),
    .max_model_len = KVI_AUTO,
    .max_sequences = 16,
    .max_batch_tokens = 512,
    .max_queued = 1024,
    .page_len = 16,
    .num_threads = KVI_AUTO,
    .activations = KVI_ACTIVATIONS_INT8,
    .kv_budget_bytes = uint64_t{1} << 30,
    .log = nullptr,
    .log_user = nullptr,
    .log_destroy = nullptr,
    .kv_budget_max_bytes = 0,
    .kv_grow_at = 0.8,
    .kv_grow_factor = 1.5,
    .shared_budget = nullptr,
    .prefix_caching = 1,
    .cache_events = 0,
    .eviction_policy = nullptr,
    .tenant_share = 0.5,
    .cache_secret = nullptr,
    .cache_secret_size = 0,
    .host_cache_bytes = 0,
    .disk_cache_bytes = 0,
    .disk_cache_folder = nullptr,
};

std::unique_ptr<kvi_engine> create_engine(std::shared_ptr<const LoadedModel> model,
                                          const EngineOptions& options) {
  auto handle = std::make_unique<kvi_engine>();
  handle->engine = Engine::create(std::move(model), options);
  return handle;
}

}  // namespace

Precision precision_argument(int32_t activations) {
  switch (activations) {
    case KVI_ACTIVATIONS_INT8: return Precision::int8_activations;
    case KVI_ACTIVATIONS_F32: return Precision::f32_activations;
    default: reject_value("activations", activations, "one of KVI_ACTIVATIONS_*");
  }
}

EngineOptions engine_options_argument(const kvi_engine_options* options) {
  kvi_engine_options known = kDefaultOptions;
  if (options != nullptr) known = read_known(options, kDefaultOptions, "options");
  EngineOptions result;
  result.log = make_log(known.log, known.log_user, known.log_destroy);
  if (options != nullptr) check_tail(options, known, "options");
  result.max_model_len = unless_auto(known.max_model_len);
  result.max_sequences = known.max_sequences;
  result.max_batch_tokens = known.max_batch_tokens;
  result.max_queued = known.max_queued;
  result.page_len = known.page_len;
  result.num_threads = unless_auto(known.num_threads);
  result.precision = precision_argument(known.activations);
  result.kv_budget_bytes = known.kv_budget_bytes;
  result.kv_budget_max_bytes = known.kv_budget_max_bytes;
  result.kv_grow_at = known.kv_grow_at;
  result.kv_grow_factor = known.kv_grow_factor;
  if (known.shared_budget != nullptr) result.shared_budget = known.shared_budget->budget;
  result.prefix_caching = flag_argument(known.prefix_caching, "prefix_caching");
  result.num_cache_events = known.cache_events;
  if (known.eviction_policy != nullptr) {
    result.eviction_policy = name_argument(known.eviction_policy, KVI_ZERO_TERMINATED,
                                           "eviction_policy");
  }
  result.tenant_share = known.tenant_share;
  const auto secret = array_argument(static_cast<const std::byte*>(known.cache_secret),
                                     known.cache_secret_size, "cache_secret");
  result.cache_secret.assign(secret.begin(), secret.end());
  result.host_cache_bytes = known.host_cache_bytes;
  result.disk_cache_bytes = known.disk_cache_bytes;
  if (known.disk_cache_folder != nullptr) {
    result.disk_cache_folder = name_argument(known.disk_cache_folder, KVI_ZERO_TERMINATED,
                                             "disk_cache_folder");
  }
  return result;
}

}  // namespace kvi::capi

extern "C" {

kvi_status kvi_engine_options_init(kvi_engine_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_stats_init(kvi_stats* stats, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(stats, struct_size, kvi_stats{}); });
}

kvi_status kvi_engine_create(kvi_model* model, const kvi_engine_options* options, kvi_engine** out,
                             kvi_error** error) {
  return guarded(error, [&] {
    EngineOptions known = engine_options_argument(options);
    require(model, "model");
    require(out, "out");
    *out = create_engine(model->model, known).release();
  });
}

kvi_status kvi_engine_open(const char* path, size_t path_size, const kvi_engine_options* options,
                           kvi_engine** out, kvi_error** error) {
  return guarded(error, [&] {
    EngineOptions known = engine_options_argument(options);
    validate(known);  // before the long work
    require(out, "out");
    LoadOptions load;
    load.num_threads = default_num_threads();
    load.log = known.log;
    auto model = LoadedModel::open(name_argument(path, path_size, "path"), load);
    *out = create_engine(std::move(model), known).release();
  });
}

kvi_status kvi_engine_close(kvi_engine* engine, uint32_t timeout_ms, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    if (engine->engine->close(timeout_argument(timeout_ms))) return;
    throw Error(Status::TIMEOUT,
                concat("the engine has not ended within ", timeout_ms, " ms; it goes on ending"))
        .retryable();
  });
}

void kvi_engine_release(kvi_engine* engine) {
  unless_forked([&] { delete engine; });
}

kvi_status kvi_engine_model(kvi_engine* engine, kvi_model** out, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(out, "out");
    *out = new kvi_model{engine->engine->model()};
  });
}

kvi_status kvi_engine_get_stats(kvi_engine* engine, kvi_stats* stats, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require_result(stats, "stats");
    EngineStats now = engine->engine->stats();
    write_struct(stats, {
                            .struct_size = 0,
                            .num_sessions = now.num_sessions,
                            .num_running = now.num_running,
                            .num_queued = now.num_queued,
                            .requests_finished = now.requests_finished,
                            .requests_failed = now.requests_failed,
                            .prefill_tokens = now.prefill_tokens,
                            .generated_tokens = now.generated_tokens,
                            .num_steps = now.num_steps,
                            .kv_budget_bytes = now.kv_budget_bytes,
                            .kv_used_bytes = now.kv_used_bytes,
                            .kv_peak_bytes = now.kv_peak_bytes,
                            .scratch_bytes = now.scratch_bytes,
                            .weights_bytes = now.weights_bytes,
                        });
  });
}

kvi_status kvi_engine_set_budget(kvi_engine* engine, uint64_t kv_budget_bytes, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    engine->engine->set_budget(kv_budget_bytes);
  });
}

kvi_status kvi_engine_trim(kvi_engine* engine, uint64_t num_bytes, uint64_t* given_back,
                           kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    const uint64_t bytes = engine->engine->trim(num_bytes);
    if (given_back != nullptr) *given_back = bytes;
  });
}

kvi_status kvi_engine_metrics_text(kvi_engine* engine, char* buffer, size_t capacity,
                                   size_t* needed, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    write_text(engine->engine->metrics_text(), buffer, capacity, needed);
  });
}

kvi_status kvi_engine_wait(kvi_engine* engine, kvi_request** requests, size_t capacity,
                           size_t* count, uint32_t timeout_ms, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(requests, "requests");
    require(count, "count");
    if (capacity == 0)
      throw Error(Status::INVALID_ARGUMENT, "capacity is 0; it must be at least 1");
    if (timeout_ms != 0) engine->engine->check_may_wait("waiting");
    std::vector<void*> handles = engine->engine->wait(capacity, timeout_argument(timeout_ms));
    *count = handles.size();
    if (handles.empty()) {
      throw Error(Status::TIMEOUT, concat("no request had news within ", timeout_ms, " ms"))
          .retryable();
    }
    std::transform(handles.begin(), handles.end(), requests,
                   [](void* handle) { return static_cast<kvi_request*>(handle); });
  });
}

}  // extern "C"
