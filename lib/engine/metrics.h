// What an engine counts and times, for those who watch it: recorded as it happens, read at any time.
//
// The verbs below are called where a thing happens, mostly on the engine's thread; they take no lock and
// allocate nothing. How the numbers are written down is metrics_text.h's.
//
// Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/tier_id.h"
#include "engine/histogram.h"
#include "engine/options.h"

namespace kvi {

enum class SwapDirection { out, in };  // from the device, and to it
enum class Preemption { swap, recompute };
enum class Refusal { queue_full, never_fits };
// By how much a request has gone on, as vLLM names it.
enum class FinishReason { stop, length, abort, error };
inline constexpr size_t kNumFinishReasons = 4;
FinishReason finish_reason(Finish finish);  // requires: not none

// One group's memory in one tier. mapped = allocated + cached + deferred + free.
struct PageUse {
  uint64_t mapped_bytes = 0;     // that the tier has taken from the system
  uint64_t allocated_bytes = 0;  // in pages that sequences hold; below the device: kept for them
  uint64_t cached_bytes = 0;     // in pages that only the prefix cache holds
  uint64_t deferred_bytes = 0;   // in pages that a transfer still reads or writes
  // K and V of tokens in allocated pages: the rest of these is waste. nullopt: not counted
  std::optional<uint64_t> token_bytes;
};

struct MetricsSnapshot {
  struct Tier {
    bool is_used = false;
    uint64_t budget_bytes = 0, hit_tokens = 0, evicted_pages = 0;
    std::array<uint64_t, 2> swap_bytes = {};  // [SwapDirection]
    std::vector<PageUse> groups;
  };

  uint64_t num_running = 0, num_waiting = 0, num_sessions = 0;
  uint64_t prompt_tokens = 0, generated_tokens = 0, num_steps = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;  // tokens
  uint64_t disk_failures = 0;
  std::array<uint64_t, 2> preemptions = {};                     // [Preemption]
  std::array<uint64_t, 2> refusals = {};                        // [Refusal]
  std::array<uint64_t, kNumFinishReasons> requests_ended = {};  // [FinishReason]
  std::array<Tier, kNumTiers> tiers;                            // [TierId]
  // Seconds.
  HistogramSnapshot time_to_first_token, inter_token_latency, time_per_output_token;
  HistogramSnapshot queue_time, prefill_time, decode_time, inference_time, e2e_latency;
  // Tokens.
  HistogramSnapshot request_prompt_tokens, request_generation_tokens, step_tokens;
};

class Metrics {
 public:
  explicit Metrics(size_t num_groups);

  // -- requests; usage: as of now --
  void request_refused(Refusal why);
  void request_started(const Usage& usage);
  void token_generated(double seconds,
                       bool is_first);     // since the request was made, or the token before
  void request_ended(const Usage& usage);  // finish: how it ends
  void preempted(Preemption how);

  // -- steps --
  void step_done(uint64_t num_tokens);
  void set_queue(uint64_t num_running, uint64_t num_waiting);
  void set_sessions(uint64_t num_sessions);

  // -- tiers; a tier appears in the text from its first number on --
  void set_budget(TierId tier, uint64_t bytes);
  void set_pages(TierId tier, size_t group, const PageUse& use);
  void prefix_hit(TierId tier, uint64_t num_tokens);  // of a request that has started
  void evicted(TierId tier, uint64_t num_pages);
  void swapped(TierId tier, SwapDirection direction, uint64_t bytes);
  void disk_failed();

  MetricsSnapshot snapshot() const;

 private:
  struct GroupGauges {
    Gauge mapped, allocated, cached, deferred, token;
  };
  struct TierNumbers {
    Gauge is_used, budget;
    Counter hit_tokens, evicted_pages;
    std::array<Counter, 2> swap_bytes;
    std::unique_ptr<GroupGauges[]> groups;  // [num_groups]
  };

  TierNumbers& used(TierId tier);

  const size_t num_groups_;
  Gauge num_running_, num_waiting_, num_sessions_;
  Counter prompt_tokens_, generated_tokens_, num_steps_, prefix_queries_, prefix_hits_;
  Counter disk_failures_;
  std::array<Counter, 2> preemptions_, refusals_;
  std::array<Counter, kNumFinishReasons> requests_ended_;
  std::array<TierNumbers, kNumTiers> tiers_;
  Histogram time_to_first_token_{kSecondBounds}, inter_token_latency_{kSecondBounds},
      time_per_output_token_{kSecondBounds};
  Histogram queue_time_{kSecondBounds}, prefill_time_{kSecondBounds}, decode_time_{kSecondBounds},
      inference_time_{kSecondBounds}, e2e_latency_{kSecondBounds};
  Histogram request_prompt_tokens_{kTokenBounds}, request_generation_tokens_{kTokenBounds},
      step_tokens_{kTokenBounds};
};

}  // namespace kvi
