// The cache as users steer it: probe, pin, prefetch, evict, clear, and what it reports.
#include <algorithm>

#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"
#include "cache/foreign_pages.h"
#include "cache/prefix_probe.h"
#include "engine/engine_core.h"

namespace kvi {

PinnedPrefix::~PinnedPrefix() { core_->unpin(*this); }

SequencePages EngineCore::look_up_sequence(const std::string& tenant, bool reads_shared) {
  SequencePages sequence = cache_->make_sequence(cache_->prefixes().scope_of_tenant(tenant));
  sequence.reads_shared = reads_shared;
  return sequence;
}

PrefixProbe EngineCore::probe(const std::string& tenant, std::span<const TokenId> tokens) {
  check_open();
  PrefixProbe probe;
  Digest salt;
  {
    std::lock_guard lock(mutex_);
    const SequencePages sequence = look_up_sequence(tenant, true);
    salt = cache_->prefixes().salt(sequence.scope);
    probe = probe_prefix(cache_->prefixes(), sequence, tokens);
  }
  // Outside the mutex: it may read files.
  if (probe.reason == MissReason::never_seen && foreign_pages_ != nullptr) {
    probe.reason = foreign_pages_->why_missing(salt, tokens, probe.first_miss);
  }
  return probe;
}

std::shared_ptr<PinnedPrefix> EngineCore::pin(SequenceState& sequence, const PinOptions& options) {
  check_open();
  std::lock_guard lock(mutex_);
  cache_->index_tail(sequence.pages);
  cache_->mark_boundary(sequence.pages, options.band);
  return make_pin(cache_->fork(sequence.pages), options);
}

std::shared_ptr<PinnedPrefix> EngineCore::pin_cached(const std::string& tenant,
                                                     std::span<const TokenId> tokens,
                                                     const PinOptions& options) {
  check_open();
  std::lock_guard lock(mutex_);
  SequencePages pages = look_up_sequence(tenant, true);
  cache_->attach_whole_pages(pages, tokens);
  if (pages.num_tokens == 0) {
    throw Error(Status::NOT_FOUND, concat("none of the ", tokens.size(),
                                          " tokens is cached for this tenant; preload them"));
  }
  cache_->mark_boundary(pages, options.band);
  return make_pin(std::move(pages), options);
}

// Takes the pages over, whatever happens.
std::shared_ptr<PinnedPrefix> EngineCore::make_pin(SequencePages pages, const PinOptions& options) {
  const int num_tokens = pages.num_tokens;
  try {
    pins_.reserve(pins_.size() +
                  1);  // once the pin is made, nothing may fail: its end takes the mutex
    if (options.tier != TierId::device) suspend_pages(pages, {}, options.tier);
    const int64_t expires_us = options.ttl_ms ? clock_->now_us() + int64_t{*options.ttl_ms} * 1000
                                              : PinnedPrefix::kNever;
    auto pin = std::make_shared<PinnedPrefix>(shared_from_this(), pages, options.tier, num_tokens,
                                              expires_us);
    pins_.push_back(pin.get());
    tell_change();
    return pin;
  } catch (...) {
    cache_->release(pages);
    tell_change();
    throw;
  }
}

void EngineCore::unpin(PinnedPrefix& pin) {
  std::lock_guard lock(mutex_);
  let_go(pin);
}

void EngineCore::let_go(PinnedPrefix& pin) {
  if (!pin.held_.exchange(false)) return;
  std::erase(pins_, &pin);
  cache_->release(pin.pages_);
  tell_change();
}

// Returns when the next pin is due.
int64_t EngineCore::expire_pins() {
  const int64_t now = clock_->now_us();
  int64_t next = PinnedPrefix::kNever;
  for (size_t i = pins_.size(); i-- > 0;) {
    if (pins_[i]->expires_us() <= now) {
      let_go(*pins_[i]);
    } else {
      next = std::min(next, pins_[i]->expires_us());
    }
  }
  return next;
}

uint32_t EngineCore::prefetch(const std::string& tenant, std::span<const TokenId> tokens) {
  check_open();
  std::lock_guard lock(mutex_);
  SequencePages pages = look_up_sequence(tenant, true);
  reserve_more(prefetching_, 1);
  cache_->attach_whole_pages(pages, tokens);
  const uint32_t num_tokens = static_cast<uint32_t>(pages.num_tokens);
  prefetching_.push_back(std::move(pages));
  tell_change();
  return num_tokens;
}

void EngineCore::resume(SequenceState& sequence) {
  std::lock_guard lock(mutex_);
  cache_->attach_whole_pages(sequence.pages, sequence.tokens);
  sequence.last_used = ++num_requests_;
  tell_change();
}

// What has come stays cached.
void EngineCore::end_prefetches() {
  std::erase_if(prefetching_, [&](SequencePages& pages) {
    if (!cache_->is_ready(pages)) return false;
    cache_->release(pages);
    return true;
  });
}

void EngineCore::evict(const std::string& tenant, std::span<const TokenId> tokens) {
  check_open();
  std::lock_guard lock(mutex_);
  cache_->prefixes().evict_prefix(look_up_sequence(tenant, false), tokens);
  tell_change();
}

void EngineCore::clear(const std::optional<std::string>& tenant) {
  check_open();
  std::lock_guard lock(mutex_);
  std::optional<int> scope;
  if (tenant) scope = cache_->prefixes().scope_of_tenant(*tenant);
  cache_->prefixes().evict_scope(scope);
  tell_change();
}

std::vector<CacheEvent> EngineCore::take_events(size_t max_count) {
  check_open();
  std::lock_guard lock(mutex_);
  CacheEvents& events = cache_->prefixes().events();
  if (!events.is_on()) {
    throw Error(Status::INVALID_STATE,
                "the engine keeps no cache events; create it with cache_events above 0");
  }
  std::vector<CacheEvent> taken(std::min(max_count, events.size()));
  taken.resize(events.take(taken));
  return taken;
}

CacheReport EngineCore::cache_report() const {
  std::lock_guard lock(mutex_);
  const PrefixCache& prefixes = cache_->prefixes();
  const DevicePages& pages = prefixes.pages();
  CacheReport report;
  report.counts = prefixes.stats();
  report.scheduling = scheduler_->stats();
  report.num_pins = static_cast<uint32_t>(pins_.size());
  report.num_pages_indexed = static_cast<uint64_t>(prefixes.tree().num_nodes() - 1);
  report.granule_bytes = pages.granule_bytes();
  report.num_moves = prefixes.num_moves();
  TierReport& device = report.tiers[0];
  device.budget_bytes = pages.budget_bytes();
  device.mapped_bytes = pages.mapped_bytes();
  device.used_bytes = pages.used_bytes();
  device.cached_bytes = pages.bytes_in_class(PageClass::cached);
  device.pinned_bytes = pages.bytes_in_class(PageClass::pinned);
  device.deferred_bytes = pages.bytes_in_class(PageClass::deferred);
  for (TierId id : {TierId::host, TierId::disk}) {
    const LowerTier* tier = prefixes.tier(id);
    if (tier == nullptr) continue;
    TierReport& lower = report.tiers[static_cast<int>(id)];
    lower.budget_bytes = tier->budget_bytes();
    lower.mapped_bytes = lower.used_bytes = tier->used_bytes();
    lower.pinned_bytes = tier->pinned_bytes();
    lower.cached_bytes = lower.used_bytes - lower.pinned_bytes;
    lower.evicted_pages = tier->num_evicted();
    lower.last_failure = tier->store().stats().last_failure;
  }
  device.evicted_pages = report.counts.evicted_pages[0];
  return report;
}

}  // namespace kvi
