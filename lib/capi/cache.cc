// The prefix cache under its users' control.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr kvi_preload_options kDefaultOptions = {
    .struct_size = sizeof(kvi_preload_options),
    .scope = KVI_SCOPE_TENANT,
    .pin_tier = KVI_TIER_DEVICE,
    .band = KVI_BAND_NORMAL,
    .ttl_ms = KVI_FOREVER,
    .timeout_ms = KVI_FOREVER,
};

// Positions are 32 bits wide.
std::span<const TokenId> tokens_argument(const int32_t* tokens, size_t count) {
  if (count > INT32_MAX / 2) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("count is ", count, "; it must be at most ", INT32_MAX / 2));
  }
  return array_argument(tokens, count, "tokens");
}

PreloadOptions preload_options_argument(const kvi_preload_options* options) {
  kvi_preload_options known = kDefaultOptions;
  if (options != nullptr) known = read_struct(options, kDefaultOptions, "options");
  PreloadOptions result;
  if (known.scope != KVI_SCOPE_TENANT && known.scope != KVI_SCOPE_SHARED)
    reject_value("scope", known.scope, "one of KVI_SCOPE_*");
  if (known.pin_tier < KVI_TIER_DEVICE || known.pin_tier > KVI_TIER_DISK)
    reject_value("pin_tier", known.pin_tier, "one of KVI_TIER_*");
  if (known.band < KVI_BAND_LOW || known.band > KVI_BAND_HIGH)
    reject_value("band", known.band, "one of KVI_BAND_*");
  result.is_shared = known.scope == KVI_SCOPE_SHARED;
  result.pin.tier = static_cast<TierId>(known.pin_tier);
  result.pin.band = static_cast<Band>(known.band);
  if (known.ttl_ms != KVI_FOREVER) result.pin.ttl_ms = known.ttl_ms;
  if (known.timeout_ms != KVI_FOREVER) result.timeout_ms = known.timeout_ms;
  return result;
}

void hand_over(kvi_engine* engine, std::shared_ptr<PinnedPrefix> prefix, kvi_prefix** out) {
  *out = new kvi_prefix{engine->engine, std::move(prefix)};
}

}  // namespace

extern "C" {

const char* kvi_miss_reason_name(int32_t reason) {
  switch (reason) {
    case KVI_MISS_NONE: return "none";
    case KVI_MISS_TENANT: return "tenant";
    case KVI_MISS_MODEL: return "model";
    case KVI_MISS_LAYOUT: return "layout";
    case KVI_MISS_NUMERICS: return "numerics";
    case KVI_MISS_EVICTED: return "evicted";
    case KVI_MISS_NEVER_SEEN: return "never_seen";
    default: return "unknown";
  }
}

kvi_status kvi_probe_init(kvi_probe* probe, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(probe, struct_size, kvi_probe{}); });
}

kvi_status kvi_preload_options_init(kvi_preload_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_prefix_info_init(kvi_prefix_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kvi_prefix_info{}); });
}

kvi_status kvi_tier_stats_init(kvi_tier_stats* stats, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(stats, struct_size, kvi_tier_stats{}); });
}

kvi_status kvi_cache_stats_init(kvi_cache_stats* stats, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(stats, struct_size, kvi_cache_stats{}); });
}

kvi_status kvi_cache_event_init(kvi_cache_event* event, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(event, struct_size, kvi_cache_event{}); });
}

kvi_status kvi_cache_probe(kvi_engine* engine, const char* tenant, size_t tenant_size,
                           const int32_t* tokens, size_t count, kvi_probe* probe,
                           kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require_result(probe, "probe");
    const PrefixProbe found = engine->engine->probe(tenant_argument(tenant, tenant_size),
                                                    tokens_argument(tokens, count));
    write_struct(probe, {
                            .struct_size = 0,
                            .miss_reason = static_cast<int32_t>(found.reason),
                            .first_miss = static_cast<uint32_t>(found.first_miss),
                            .device_tokens = static_cast<uint32_t>(found.tokens[0]),
                            .host_tokens = static_cast<uint32_t>(found.tokens[1]),
                            .disk_tokens = static_cast<uint32_t>(found.tokens[2]),
                        });
  });
}

kvi_status kvi_cache_preload(kvi_engine* engine, const char* tenant, size_t tenant_size,
                             const int32_t* tokens, size_t count,
                             const kvi_preload_options* options, kvi_prefix** out,
                             kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(out, "out");
    hand_over(
        engine,
        engine->engine->preload(tenant_argument(tenant, tenant_size),
                                tokens_argument(tokens, count), preload_options_argument(options)),
        out);
  });
}

kvi_status kvi_cache_pin(kvi_engine* engine, const char* tenant, size_t tenant_size,
                         const int32_t* tokens, size_t count, const kvi_preload_options* options,
                         kvi_prefix** out, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(out, "out");
    hand_over(engine,
              engine->engine->pin_cached(tenant_argument(tenant, tenant_size),
                                         tokens_argument(tokens, count),
                                         preload_options_argument(options).pin),
              out);
  });
}

kvi_status kvi_prefix_get_info(kvi_prefix* prefix, kvi_prefix_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require(prefix, "prefix");
    require_result(info, "info");
    write_struct(info, {
                           .struct_size = 0,
                           .tier = static_cast<int32_t>(prefix->prefix->tier()),
                           .num_tokens = static_cast<uint32_t>(prefix->prefix->num_tokens()),
                           .held = prefix->prefix->is_held(),
                       });
  });
}

void kvi_prefix_release(kvi_prefix* prefix) {
  unless_forked([&] { delete prefix; });
}

kvi_status kvi_cache_prefetch(kvi_engine* engine, const char* tenant, size_t tenant_size,
                              const int32_t* tokens, size_t count, uint32_t* num_tokens,
                              kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    const uint32_t found = engine->engine->prefetch(tenant_argument(tenant, tenant_size),
                                                    tokens_argument(tokens, count));
    if (num_tokens != nullptr) *num_tokens = found;
  });
}

kvi_status kvi_cache_evict(kvi_engine* engine, const char* tenant, size_t tenant_size,
                           const int32_t* tokens, size_t count, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    engine->engine->evict(tenant_argument(tenant, tenant_size), tokens_argument(tokens, count));
  });
}

kvi_status kvi_cache_clear(kvi_engine* engine, const char* tenant, size_t tenant_size,
                           kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    std::optional<std::string> one;
    if (tenant != nullptr || tenant_size != 0) one = tenant_argument(tenant, tenant_size);
    engine->engine->clear_cache(one);
  });
}

kvi_status kvi_cache_get_stats(kvi_engine* engine, kvi_cache_stats* stats, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require_result(stats, "stats");
    const CacheReport report = engine->engine->cache_report();
    write_struct(stats, {
                            .struct_size = 0,
                            .num_pins = report.num_pins,
                            .queried_tokens = report.counts.queried_tokens,
                            .indexed_pages = report.num_pages_indexed,
                            .granule_bytes = report.granule_bytes,
                            .preemptions_swapped = report.scheduling.preemptions_swapped,
                            .preemptions_recomputed = report.scheduling.preemptions_recomputed,
                            .failed_transfers = report.counts.failed_moves,
                        });
  });
}

kvi_status kvi_cache_get_tier_stats(kvi_engine* engine, int32_t tier, kvi_tier_stats* stats,
                                    kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require_result(stats, "stats");
    if (tier < KVI_TIER_DEVICE || tier > KVI_TIER_DISK)
      reject_value("tier", tier, "one of KVI_TIER_*");
    const CacheReport report = engine->engine->cache_report();
    const TierReport& one = report.tiers[tier];
    write_struct(stats, {
                            .struct_size = 0,
                            .tier = tier,
                            .budget_bytes = one.budget_bytes,
                            .mapped_bytes = one.mapped_bytes,
                            .used_bytes = one.used_bytes,
                            .pinned_bytes = one.pinned_bytes,
                            .cached_bytes = one.cached_bytes,
                            .deferred_bytes = one.deferred_bytes,
                            .hit_tokens = report.counts.hit_tokens[tier],
                            .evicted_pages = one.evicted_pages,
                            .stored_bytes = report.counts.stored_bytes[tier],
                            .loaded_bytes = report.counts.loaded_bytes[tier],
                        });
  });
}

kvi_status kvi_cache_events(kvi_engine* engine, kvi_cache_event* events, size_t capacity,
                            size_t* count, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(count, "count");
    size_t stride = sizeof(kvi_cache_event);
    if (capacity > 0) {
      require_result(events, "events");
      stride = events->struct_size;
      check_room(events, capacity, stride, "events");
    }
    const std::vector<CacheEvent> taken = engine->engine->take_cache_events(capacity);
    for (size_t i = 0; i < taken.size(); ++i) {
      kvi_cache_event event = {
          .struct_size = 0,
          .kind = static_cast<int32_t>(taken[i].kind),
          .tier = static_cast<int32_t>(taken[i].tier),
          .num_tokens = static_cast<uint32_t>(taken[i].num_tokens),
          .number = taken[i].number,
          .key = {},
          .parent = {},
      };
      std::copy(taken[i].key.begin(), taken[i].key.end(), event.key);
      std::copy(taken[i].parent.begin(), taken[i].parent.end(), event.parent);
      auto* out = reinterpret_cast<kvi_cache_event*>(reinterpret_cast<char*>(events) + i * stride);
      out->struct_size = static_cast<uint32_t>(stride);
      write_struct(out, event);
    }
    *count = taken.size();
  });
}

}  // extern "C"
