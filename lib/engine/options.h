// Settings and results of engine, session and request, in C++ form. The C ABI states what each means.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/log.h"
#include "cache/cache_options.h"
#include "cache/evictor.h"
#include "cache/memory_budget.h"
#include "cache/tier_id.h"
#include "sched/scheduler.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

struct EngineOptions {
  std::optional<uint32_t> max_model_len;  // nullopt: the model's context
  uint32_t max_sequences = 16;
  uint32_t max_batch_tokens = 512;
  uint32_t max_queued = 1024;
  uint32_t page_len = 16;
  std::optional<uint32_t> num_threads;  // nullopt: the device's default
  Precision precision = Precision::int8_activations;
  uint64_t kv_budget_bytes = uint64_t{1} << 30;
  // Where pages in use take kv_grow_at of the budget, it grows by kv_grow_factor, up to this; 0: it never does.
  uint64_t kv_budget_max_bytes = 0;
  double kv_grow_at = 0.8, kv_grow_factor = 1.5;
  std::shared_ptr<MemoryBudget> shared_budget;  // nullptr: its own only
  bool prefix_caching = true;
  std::string eviction_policy = "cost";
  double tenant_share = 0.5;
  std::vector<std::byte> cache_secret;  // empty: random, or the disk folder's
  uint64_t host_cache_bytes = 0, disk_cache_bytes = 0;
  std::string disk_cache_folder;
  uint32_t num_cache_events = 0;  // kept until they are read
  Log log;
};

struct SessionOptions {
  std::string tenant;
  bool is_shared = false;    // an operator's, whose text all tenants may reuse
  bool reads_shared = true;  // the operator's prefixes
  bool caches = true;        // its text may be found again
  int priority = 0;          // of its requests, unless they say otherwise
};

struct EngineStats {
  uint32_t num_sessions = 0, num_running = 0, num_queued = 0;
  uint64_t requests_finished = 0, requests_failed = 0;
  uint64_t prefill_tokens = 0, generated_tokens = 0, num_steps = 0;
  uint64_t kv_budget_bytes = 0, kv_used_bytes = 0, kv_peak_bytes = 0;
  uint64_t scratch_bytes = 0, weights_bytes = 0;
};

struct PinOptions {
  TierId tier = TierId::device;
  Band band = Band::normal;
  std::optional<uint32_t> ttl_ms;  // nullopt: until it is released
};

struct PreloadOptions {
  PinOptions pin;
  bool is_shared = false;  // every tenant that opted in reads it
  std::optional<uint32_t> timeout_ms;
};

struct TierReport {
  uint64_t budget_bytes = 0, mapped_bytes = 0;
  uint64_t used_bytes = 0;  // device: held by sequences and pins; below: in slots
  uint64_t pinned_bytes =
      0;  // device: of these, indexed too; below: kept for suspended sessions and pins
  uint64_t cached_bytes = 0;
  uint64_t deferred_bytes = 0;
  uint64_t evicted_pages = 0;
  std::string last_failure;  // "": none
};

struct CacheReport {
  std::array<TierReport, kNumTiers> tiers;
  CacheStats counts;
  SchedulerStats scheduling;
  uint64_t num_pages_indexed = 0;
  uint64_t granule_bytes = 0;
  uint32_t num_pins = 0;
  uint64_t num_moves = 0;  // of pages between tiers, planned and under way
};

struct LogitBias {
  TokenId token = 0;
  float bias = 0;
};

struct SamplingOptions {
  float temperature = 0.8f;
  uint32_t top_k = 40;
  float top_p = 0.95f;
  float min_p = 0.05f;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  std::vector<LogitBias> biases;
};

struct GenerateOptions {
  uint32_t max_tokens = 256;
  SamplingOptions sampling;
  int top_logprobs = -1;  // -1: none
  bool ignore_eos = false;
  std::vector<std::string> stops;
  std::optional<uint32_t> timeout_ms;
  std::optional<int> priority;  // nullopt: the session's
};

enum class Finish : int32_t { none, eos, stop, length, context, cancelled, error };
enum class CancelMode { keep, rollback };

// Of a request's prompt, when it began: in sessions' pages, or found in a tier.
struct CachedTokens {
  uint32_t total = 0, host = 0, disk = 0;
};

struct Usage {
  Finish finish = Finish::none;
  uint32_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  uint32_t host_tokens = 0, disk_tokens = 0;  // of the cached ones
  uint32_t num_preemptions = 0;
  double queue_ms = 0, ttft_ms = 0, tpot_ms = 0, total_ms = 0;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

struct SessionInfo {
  uint32_t num_tokens = 0, num_computed_tokens = 0, max_tokens = 0;
  bool busy = false, suspended = false;
  uint64_t kv_bytes = 0;
};

struct MessagesResult {
  uint32_t kept_tokens = 0, dropped_tokens = 0, added_tokens = 0;
};

}  // namespace kvi
