// Engines: they compute, and keep what was computed.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_ENGINE_HPP_
#define KVINFER_ENGINE_HPP_

#include <kvinfer/cache.hpp>
#include <kvinfer/errors.hpp>
#include <kvinfer/model.hpp>
#include <kvinfer/options.hpp>
#include <kvinfer/session.hpp>
#include <kvinfer/snapshot.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvinfer {

// What Engine::score found, for the tokens from `first` on.
struct Scores {
  std::vector<float> logprobs;
  std::vector<int32_t> top1;
};

class Engine {
 public:
  static Result<Engine> try_open(std::string_view path, const EngineOptions& options = {}) {
    const Result<void> usable = options.check();
    if (!usable) return usable.error();
    return detail::make<Engine, kvi_engine>([&](kvi_engine** out, kvi_error** error) {
      const kvi_engine_options raw = options.raw();
      return kvi_engine_open(path.data(), path.size(), &raw, out, error);
    });
  }
  static Result<Engine> try_create(const Model& model, const EngineOptions& options = {}) {
    const Result<void> usable = options.check();
    if (!usable) return usable.error();
    return detail::make<Engine, kvi_engine>([&](kvi_engine** out, kvi_error** error) {
      const kvi_engine_options raw = options.raw();
      return kvi_engine_create(model.raw(), &raw, out, error);
    });
  }
  explicit Engine(detail::Handle<kvi_engine> handle) : handle_(std::move(handle)) {}
  kvi_engine* raw() const { return handle_.get(); }

  Result<Model> try_model() const {
    return detail::make<Model, kvi_model>(
        [&](kvi_model** out, kvi_error** error) { return kvi_engine_model(raw(), out, error); });
  }
  Result<Session> try_session(const SessionOptions& options = {}) const {
    return detail::make<Session, kvi_session>([&](kvi_session** out, kvi_error** error) {
      const kvi_session_options known = options.raw();
      return kvi_session_create(raw(), &known, out, error);
    });
  }
  Result<kvi_stats> try_stats() const {
    kvi_stats stats;
    kvi_stats_init(&stats, sizeof stats);
    return detail::get(stats, [&](kvi_stats& out, kvi_error** error) {
      return kvi_engine_get_stats(raw(), &out, error);
    });
  }
  // Prometheus text, format 0.0.4.
  Result<std::string> try_metrics_text() const {
    for (;;) {  // it may have grown since its size was told
      auto text = detail::fill<std::string>(
          [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
            return kvi_engine_metrics_text(raw(), buffer, capacity, needed, error);
          });
      if (text || text.error().status() != Status::BUFFER_TOO_SMALL) return text;
    }
  }
  Result<Scores> try_score(const std::vector<int32_t>& tokens, size_t first = 1) const {
    const size_t count = first < tokens.size() ? tokens.size() - first : 0;
    Scores scores{std::vector<float>(count), std::vector<int32_t>(count)};
    return detail::get(std::move(scores), [&](Scores& out, kvi_error** error) {
      return kvi_score(raw(), tokens.data(), tokens.size(), first, out.logprobs.data(),
                       out.top1.data(), nullptr, error);
    });
  }
  Result<void> try_set_budget(uint64_t kv_budget_bytes) const {
    return detail::check(
        [&](kvi_error** error) { return kvi_engine_set_budget(raw(), kv_budget_bytes, error); });
  }
  // Returns the bytes that went back to the system.
  Result<uint64_t> try_trim(uint64_t num_bytes) const {
    return detail::get(uint64_t{0}, [&](uint64_t& given_back, kvi_error** error) {
      return kvi_engine_trim(raw(), num_bytes, &given_back, error);
    });
  }

  // The cache, of one tenant: any bytes.
  Result<Probe> try_probe(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    kvi_probe probe;
    kvi_probe_init(&probe, sizeof probe);
    const Result<void> result = detail::check([&](kvi_error** error) {
      return kvi_cache_probe(raw(), tenant.data(), tenant.size(), tokens.data(), tokens.size(),
                             &probe, error);
    });
    if (!result) return result.error();
    return Probe(probe);
  }
  // Computes what is not cached, and keeps it.
  Result<Prefix> try_preload(std::string_view tenant, const std::vector<int32_t>& tokens,
                             const PreloadOptions& options = {}) const {
    return detail::make<Prefix, kvi_prefix>([&](kvi_prefix** out, kvi_error** error) {
      return kvi_cache_preload(raw(), tenant.data(), tenant.size(), tokens.data(), tokens.size(),
                               &options.raw(), out, error);
    });
  }
  // Keeps what is cached.
  Result<Prefix> try_pin(std::string_view tenant, const std::vector<int32_t>& tokens,
                         const PreloadOptions& options = {}) const {
    return detail::make<Prefix, kvi_prefix>([&](kvi_prefix** out, kvi_error** error) {
      return kvi_cache_pin(raw(), tenant.data(), tenant.size(), tokens.data(), tokens.size(),
                           &options.raw(), out, error);
    });
  }
  // Returns how many tokens are on the device, or on their way there.
  Result<uint32_t> try_prefetch(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    return detail::get(uint32_t{0}, [&](uint32_t& num_tokens, kvi_error** error) {
      return kvi_cache_prefetch(raw(), tenant.data(), tenant.size(), tokens.data(), tokens.size(),
                                &num_tokens, error);
    });
  }
  Result<void> try_evict(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    return detail::check([&](kvi_error** error) {
      return kvi_cache_evict(raw(), tenant.data(), tenant.size(), tokens.data(), tokens.size(),
                             error);
    });
  }
  // Of everybody, where no tenant is given.
  Result<void> try_clear_cache(std::optional<std::string_view> tenant = std::nullopt) const {
    const char* const name = !tenant ? nullptr : tenant->empty() ? "" : tenant->data();
    return detail::check([&](kvi_error** error) {
      return kvi_cache_clear(raw(), name, tenant ? tenant->size() : 0, error);
    });
  }
  Result<kvi_cache_stats> try_cache_stats() const {
    kvi_cache_stats stats;
    kvi_cache_stats_init(&stats, sizeof stats);
    return detail::get(stats, [&](kvi_cache_stats& out, kvi_error** error) {
      return kvi_cache_get_stats(raw(), &out, error);
    });
  }
  Result<kvi_tier_stats> try_tier_stats(Tier tier) const {
    kvi_tier_stats stats;
    kvi_tier_stats_init(&stats, sizeof stats);
    return detail::get(stats, [&](kvi_tier_stats& out, kvi_error** error) {
      return kvi_cache_get_tier_stats(raw(), static_cast<int32_t>(tier), &out, error);
    });
  }
  // The oldest, which are taken out; at most max_count.
  Result<std::vector<kvi_cache_event>> try_cache_events(size_t max_count = 1024) const {
    std::vector<kvi_cache_event> events(max_count);
    if (max_count > 0) kvi_cache_event_init(events.data(), sizeof events[0]);
    size_t count = 0;
    const Result<void> result = detail::check([&](kvi_error** error) {
      return kvi_cache_events(raw(), events.data(), events.size(), &count, error);
    });
    if (!result) return result.error();
    events.resize(count);
    return events;
  }

  Result<LoadedSession> try_load_session(std::string_view path,
                                         const SnapshotOptions& options = {}) const {
    return load(options, [&](const kvi_snapshot_options* raw_options, kvi_session** out,
                             kvi_snapshot_result* taken, kvi_error** error) {
      return kvi_session_load(raw(), path.data(), path.size(), raw_options, out, taken, error);
    });
  }
  Result<LoadedSession> try_load_session(const ReadFunction& read,
                                         const SnapshotOptions& options = {}) const {
    const Result<void> usable = detail::Callback<ReadFunction>::check(read, "read");
    if (!usable) return usable.error();
    detail::Callback<ReadFunction> callback(read);
    Result<LoadedSession> session = load(
        options, [&](const kvi_snapshot_options* raw_options, kvi_session** out,
                     kvi_snapshot_result* taken, kvi_error** error) {
          return kvi_session_load_from(raw(), detail::call_read, &callback, raw_options, out, taken,
                                       error);
        });
    callback.rethrow();
    return session;
  }

  // The requests (Stream::raw) that have news, at most max_count; none within the timeout is TIMEOUT.
  Result<std::vector<kvi_request*>> try_wait(size_t max_count = 64,
                                             std::optional<Milliseconds> timeout = std::nullopt) {
    std::vector<kvi_request*> requests(max_count);
    size_t count = 0;
    Result<void> result = detail::check([&](kvi_error** error) {
      return kvi_engine_wait(raw(), requests.data(), max_count, &count, detail::timeout(timeout),
                             error);
    });
    if (!result) return result.error();
    requests.resize(count);
    return requests;
  }
  // Ends all work; returns when the engine's last thread has ended. Needed only before dlclose.
  Result<void> try_close(std::optional<Milliseconds> timeout = std::nullopt) const {
    return detail::check([&](kvi_error** error) {
      return kvi_engine_close(raw(), detail::timeout(timeout), error);
    });
  }

#if KVINFER_EXCEPTIONS
  static Engine open(std::string_view path, const EngineOptions& options = {}) {
    return try_open(path, options).value();
  }
  static Engine create(const Model& model, const EngineOptions& options = {}) {
    return try_create(model, options).value();
  }
  Model model() const { return try_model().value(); }
  Session session(const SessionOptions& options = {}) const { return try_session(options).value(); }
  kvi_stats stats() const { return try_stats().value(); }
  std::string metrics_text() const { return try_metrics_text().value(); }
  Scores score(const std::vector<int32_t>& tokens, size_t first = 1) const {
    return try_score(tokens, first).value();
  }
  LoadedSession load_session(std::string_view path, const SnapshotOptions& options = {}) const {
    return try_load_session(path, options).value();
  }
  LoadedSession load_session(const ReadFunction& read, const SnapshotOptions& options = {}) const {
    return try_load_session(read, options).value();
  }
  void set_budget(uint64_t kv_budget_bytes) const { try_set_budget(kv_budget_bytes).value(); }
  uint64_t trim(uint64_t num_bytes) const { return try_trim(num_bytes).value(); }
  Probe probe(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    return try_probe(tenant, tokens).value();
  }
  Prefix preload(std::string_view tenant, const std::vector<int32_t>& tokens,
                 const PreloadOptions& options = {}) const {
    return try_preload(tenant, tokens, options).value();
  }
  Prefix pin(std::string_view tenant, const std::vector<int32_t>& tokens,
             const PreloadOptions& options = {}) const {
    return try_pin(tenant, tokens, options).value();
  }
  uint32_t prefetch(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    return try_prefetch(tenant, tokens).value();
  }
  void evict(std::string_view tenant, const std::vector<int32_t>& tokens) const {
    try_evict(tenant, tokens).value();
  }
  void clear_cache(std::optional<std::string_view> tenant = std::nullopt) const {
    try_clear_cache(tenant).value();
  }
  kvi_cache_stats cache_stats() const { return try_cache_stats().value(); }
  kvi_tier_stats tier_stats(Tier tier) const { return try_tier_stats(tier).value(); }
  std::vector<kvi_cache_event> cache_events(size_t max_count = 1024) const {
    return try_cache_events(max_count).value();
  }
  std::vector<kvi_request*> wait(size_t max_count = 64,
                                 std::optional<Milliseconds> timeout = std::nullopt) {
    return try_wait(max_count, timeout).value();
  }
  void close(std::optional<Milliseconds> timeout = std::nullopt) const {
    try_close(timeout).value();
  }
#endif

 private:
  template <typename Call>
  static Result<LoadedSession> load(const SnapshotOptions& options, const Call& call) {
    kvi_snapshot_result taken;
    kvi_snapshot_result_init(&taken, sizeof taken);
    Result<Session> session = options.with_raw([&](const kvi_snapshot_options* raw_options) {
      return detail::make<Session, kvi_session>([&](kvi_session** out, kvi_error** error) {
        return call(raw_options, out, &taken, error);
      });
    });
    if (!session) return session.error();
    return LoadedSession{std::move(*session), taken};
  }

  detail::Handle<kvi_engine> handle_;
};

}  // namespace kvinfer

#endif  // KVINFER_ENGINE_HPP_
