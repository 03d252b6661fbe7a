// The cache's words, memory budgets that engines share, and prefixes that are kept.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_CACHE_HPP_
#define KVINFER_CACHE_HPP_

#include <kvinfer/errors.hpp>

#include <cstdint>
#include <optional>
#include <utility>

namespace kvinfer {

enum class Tier : int32_t { device = KVI_TIER_DEVICE, host = KVI_TIER_HOST, disk = KVI_TIER_DISK };
enum class Scope : int32_t { tenant = KVI_SCOPE_TENANT, shared = KVI_SCOPE_SHARED };
enum class Band : int32_t { low = KVI_BAND_LOW, normal = KVI_BAND_NORMAL, high = KVI_BAND_HIGH };
enum class MissReason : int32_t {
  none = KVI_MISS_NONE,
  tenant = KVI_MISS_TENANT,
  model = KVI_MISS_MODEL,
  layout = KVI_MISS_LAYOUT,
  numerics = KVI_MISS_NUMERICS,
  evicted = KVI_MISS_EVICTED,
  never_seen = KVI_MISS_NEVER_SEEN,
};
enum class EventKind : int32_t { stored = KVI_EVENT_STORED, removed = KVI_EVENT_REMOVED };

inline const char* miss_reason_name(MissReason reason) {
  return kvi_miss_reason_name(static_cast<int32_t>(reason));
}

// What of a prompt is cached: a hint, true when it was taken.
class Probe {
 public:
  explicit Probe(const kvi_probe& raw) : raw_(raw) {}
  const kvi_probe& raw() const { return raw_; }

  MissReason miss_reason() const { return static_cast<MissReason>(raw_.miss_reason); }
  uint32_t first_miss() const { return raw_.first_miss; }  // the prompt's length where all is there
  uint32_t tokens(Tier tier) const {
    switch (tier) {
      case Tier::device: return raw_.device_tokens;
      case Tier::host: return raw_.host_tokens;
      case Tier::disk: return raw_.disk_tokens;
    }
    return 0;
  }

 private:
  kvi_probe raw_;
};

// For Engine::preload and Engine::pin.
class PreloadOptions {
 public:
  PreloadOptions() { kvi_preload_options_init(&options_, sizeof options_); }
  PreloadOptions& scope(Scope value) { return options_.scope = static_cast<int32_t>(value), *this; }
  PreloadOptions& pin_tier(Tier value) {
    return options_.pin_tier = static_cast<int32_t>(value), *this;
  }
  PreloadOptions& band(Band value) { return options_.band = static_cast<int32_t>(value), *this; }
  PreloadOptions& ttl(Milliseconds value) {
    return options_.ttl_ms = detail::timeout(value), *this;
  }
  PreloadOptions& timeout(Milliseconds limit) {
    return options_.timeout_ms = detail::timeout(limit), *this;
  }
  const kvi_preload_options& raw() const { return options_; }

 private:
  kvi_preload_options options_;
};

// A prefix that is kept until its time is over, or this is destroyed or reset.
class Prefix {
 public:
  explicit Prefix(detail::Handle<kvi_prefix> handle) : handle_(std::move(handle)) {}
  kvi_prefix* raw() const { return handle_.get(); }
  void reset() { handle_.reset(); }

  Result<kvi_prefix_info> try_info() const {
    kvi_prefix_info info;
    kvi_prefix_info_init(&info, sizeof info);
    return detail::get(info, [&](kvi_prefix_info& out, kvi_error** error) {
      return kvi_prefix_get_info(raw(), &out, error);
    });
  }
#if KVINFER_EXCEPTIONS
  kvi_prefix_info info() const { return try_info().value(); }
#endif

 private:
  detail::Handle<kvi_prefix> handle_;
};

// Memory for KV pages that engines of one device share; any thread.
class Budget {
 public:
  static Result<Budget> try_create(uint64_t limit_bytes) {
    return detail::make<Budget, kvi_budget>([&](kvi_budget** out, kvi_error** error) {
      return kvi_budget_create(limit_bytes, out, error);
    });
  }
  explicit Budget(detail::Handle<kvi_budget> handle) : handle_(std::move(handle)) {}
  kvi_budget* raw() const { return handle_.get(); }

  Result<void> try_set_limit(uint64_t limit_bytes) const {
    return detail::check(
        [&](kvi_error** error) { return kvi_budget_set_limit(raw(), limit_bytes, error); });
  }
  Result<kvi_budget_info> try_info() const {
    kvi_budget_info info;
    kvi_budget_info_init(&info, sizeof info);
    return detail::get(info, [&](kvi_budget_info& out, kvi_error** error) {
      return kvi_budget_get_info(raw(), &out, error);
    });
  }
#if KVINFER_EXCEPTIONS
  static Budget create(uint64_t limit_bytes) { return try_create(limit_bytes).value(); }
  void set_limit(uint64_t limit_bytes) const { try_set_limit(limit_bytes).value(); }
  kvi_budget_info info() const { return try_info().value(); }
#endif

 private:
  detail::Handle<kvi_budget> handle_;
};

}  // namespace kvinfer

#endif  // KVINFER_CACHE_HPP_
