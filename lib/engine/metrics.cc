#include "engine/metrics.h"

#include "base/error.h"

namespace kvi {
namespace {

template <typename Enum>
size_t index(Enum value) {
  return static_cast<size_t>(value);
}

constexpr uint64_t kNotCounted = UINT64_MAX;

double seconds(double milliseconds) { return milliseconds / 1000; }

}  // namespace

FinishReason finish_reason(Finish finish) {
  switch (finish) {
    case Finish::eos:
    case Finish::stop: return FinishReason::stop;
    case Finish::length:
    case Finish::context: return FinishReason::length;
    case Finish::cancelled: return FinishReason::abort;
    case Finish::none:
    case Finish::error: break;
  }
  return FinishReason::error;
}

Metrics::Metrics(size_t num_groups) : num_groups_(num_groups) {
  for (TierNumbers& tier : tiers_) tier.groups = std::make_unique<GroupGauges[]>(num_groups);
}

void Metrics::request_refused(Refusal why) { refusals_[index(why)].add(); }

void Metrics::request_started(const Usage& usage) {
  prompt_tokens_.add(usage.prompt_tokens);
  prefix_queries_.add(usage.prompt_tokens);
  prefix_hits_.add(usage.cached_tokens);
  queue_time_.observe(seconds(usage.queue_ms));
}

void Metrics::token_generated(double seconds, bool is_first) {
  generated_tokens_.add();
  (is_first ? time_to_first_token_ : inter_token_latency_).observe(seconds);
}

void Metrics::request_ended(const Usage& usage) {
  requests_ended_[index(finish_reason(usage.finish))].add();
  e2e_latency_.observe(seconds(usage.total_ms));
  if (usage.prompt_tokens > 0) request_prompt_tokens_.observe(usage.prompt_tokens);
  request_generation_tokens_.observe(usage.generated_tokens);
  if (usage.generated_tokens == 0) return;
  prefill_time_.observe(seconds(usage.ttft_ms - usage.queue_ms));
  decode_time_.observe(seconds(usage.total_ms - usage.ttft_ms));
  inference_time_.observe(seconds(usage.total_ms - usage.queue_ms));
  if (usage.generated_tokens > 1) time_per_output_token_.observe(seconds(usage.tpot_ms));
}

void Metrics::preempted(Preemption how) { preemptions_[index(how)].add(); }

void Metrics::step_done(uint64_t num_tokens) {
  num_steps_.add();
  step_tokens_.observe(static_cast<double>(num_tokens));
}

void Metrics::set_queue(uint64_t num_running, uint64_t num_waiting) {
  num_running_.set(num_running);
  num_waiting_.set(num_waiting);
}

void Metrics::set_sessions(uint64_t num_sessions) { num_sessions_.set(num_sessions); }

Metrics::TierNumbers& Metrics::used(TierId tier) {
  TierNumbers& numbers = tiers_[index(tier)];
  numbers.is_used.set(1);
  return numbers;
}

void Metrics::set_budget(TierId tier, uint64_t bytes) { used(tier).budget.set(bytes); }

void Metrics::set_pages(TierId tier, size_t group, const PageUse& use) {
  KVI_CHECK(group < num_groups_);
  GroupGauges& gauges = used(tier).groups[group];
  gauges.mapped.set(use.mapped_bytes);
  gauges.allocated.set(use.allocated_bytes);
  gauges.cached.set(use.cached_bytes);
  gauges.deferred.set(use.deferred_bytes);
  gauges.token.set(use.token_bytes.value_or(kNotCounted));
}

void Metrics::prefix_hit(TierId tier, uint64_t num_tokens) {
  used(tier).hit_tokens.add(num_tokens);
}

void Metrics::evicted(TierId tier, uint64_t num_pages) { used(tier).evicted_pages.add(num_pages); }

void Metrics::swapped(TierId tier, SwapDirection direction, uint64_t bytes) {
  used(tier).swap_bytes[index(direction)].add(bytes);
}

void Metrics::disk_failed() { disk_failures_.add(); }

MetricsSnapshot Metrics::snapshot() const {
  MetricsSnapshot now;
  now.num_running = num_running_.value();
  now.num_waiting = num_waiting_.value();
  now.num_sessions = num_sessions_.value();
  now.prompt_tokens = prompt_tokens_.value();
  now.generated_tokens = generated_tokens_.value();
  now.num_steps = num_steps_.value();
  now.prefix_queries = prefix_queries_.value();
  now.prefix_hits = prefix_hits_.value();
  now.disk_failures = disk_failures_.value();
  for (size_t i = 0; i < preemptions_.size(); ++i) now.preemptions[i] = preemptions_[i].value();
  for (size_t i = 0; i < refusals_.size(); ++i) now.refusals[i] = refusals_[i].value();
  for (size_t i = 0; i < requests_ended_.size(); ++i) {
    now.requests_ended[i] = requests_ended_[i].value();
  }
  for (size_t t = 0; t < kNumTiers; ++t) {
    const TierNumbers& from = tiers_[t];
    MetricsSnapshot::Tier& to = now.tiers[t];
    to.is_used = from.is_used.value() != 0;
    to.budget_bytes = from.budget.value();
    to.hit_tokens = from.hit_tokens.value();
    to.evicted_pages = from.evicted_pages.value();
    for (size_t i = 0; i < to.swap_bytes.size(); ++i) to.swap_bytes[i] = from.swap_bytes[i].value();
    for (size_t g = 0; g < num_groups_; ++g) {
      const GroupGauges& gauges = from.groups[g];
      const uint64_t token_bytes = gauges.token.value();
      to.groups.push_back(
          {.mapped_bytes = gauges.mapped.value(),
           .allocated_bytes = gauges.allocated.value(),
           .cached_bytes = gauges.cached.value(),
           .deferred_bytes = gauges.deferred.value(),
           .token_bytes = token_bytes == kNotCounted ? std::nullopt : std::optional(token_bytes)});
    }
  }
  now.time_to_first_token = time_to_first_token_.snapshot();
  now.inter_token_latency = inter_token_latency_.snapshot();
  now.time_per_output_token = time_per_output_token_.snapshot();
  now.queue_time = queue_time_.snapshot();
  now.prefill_time = prefill_time_.snapshot();
  now.decode_time = decode_time_.snapshot();
  now.inference_time = inference_time_.snapshot();
  now.e2e_latency = e2e_latency_.snapshot();
  now.request_prompt_tokens = request_prompt_tokens_.snapshot();
  now.request_generation_tokens = request_generation_tokens_.snapshot();
  now.step_tokens = step_tokens_.snapshot();
  return now;
}

}  // namespace kvi
