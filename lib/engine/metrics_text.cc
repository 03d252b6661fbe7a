#include "engine/metrics_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace kvi {
namespace {

constexpr const char* kTierNames[] = {"device", "host", "disk"};
constexpr const char* kDirectionNames[] = {"out", "in"};
constexpr const char* kPreemptionNames[] = {"swap", "recompute"};
constexpr const char* kRefusalNames[] = {"queue_full", "never_fits"};
constexpr const char* kFinishReasonNames[] = {"stop", "length", "abort", "error"};

std::string label_value(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint point = decode_utf8(text, pos);
    pos += static_cast<size_t>(point.size);
    switch (point.value) {
      case '\\': out += "\\\\"; break;
      case '"': out += "\\\""; break;
      case '\n': out += "\\n"; break;
      default: append_utf8(out, point.valid ? point.value : U'\ufffd');
    }
  }
  return out;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

double ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

uint64_t minus(uint64_t a, uint64_t b) {
  return a - std::min(a, b);
}  // gauges are of different moments

using Labels = std::initializer_list<std::pair<const char*, std::string_view>>;

class Writer {
 public:
  explicit Writer(std::string_view model_name)
      : model_label_("{model_name=\"" + label_value(model_name) + "\"") {}

  // Of all samples that follow.
  void family(const char* name, const char* type, const char* help) {
    name_ = name;
    text_ += concat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  }
  void sample(uint64_t value, Labels labels = {}) { write("", labels, std::to_string(value)); }
  void sample(double value, Labels labels = {}) { write("", labels, number_text(value)); }

  void counter(const char* name, const char* help, uint64_t value) {
    family(name, "counter", help);
    sample(value);
  }
  void gauge(const char* name, const char* help, uint64_t value) {
    family(name, "gauge", help);
    sample(value);
  }
  template <size_t N>
  void counters(const char* name, const char* help, const char* label,
                const char* const (&values)[N], const std::array<uint64_t, N>& counts) {
    family(name, "counter", help);
    for (size_t i = 0; i < N; ++i) sample(counts[i], {{label, values[i]}});
  }
  void histogram(const char* name, const char* help, const HistogramSnapshot& histogram) {
    family(name, "histogram", help);
    uint64_t count = 0;
    for (size_t i = 0; i < kNumBounds; ++i) {
      count += histogram.counts[i];
      write("_bucket", {{"le", number_text((*histogram.bounds)[i])}}, std::to_string(count));
    }
    count += histogram.counts[kNumBounds];
    write("_bucket", {{"le", "+Inf"}}, std::to_string(count));
    write("_sum", {}, number_text(histogram.sum));
    write("_count", {}, std::to_string(count));
  }

  std::string take() { return std::move(text_); }

 private:
  // Values of labels other than the model's are ours, and need no escaping.
  void write(const char* suffix, Labels labels, const std::string& value) {
    text_ += concat(name_, suffix, model_label_);
    for (const auto& [name, label] : labels) text_ += concat(",", name, "=\"", label, "\"");
    text_ += concat("} ", value, "\n");
  }

  const std::string model_label_;
  const char* name_ = "";
  std::string text_;
};

void write_requests(Writer& out, const MetricsSnapshot& now) {
  out.gauge("vllm:num_requests_running", "Requests that compute.", now.num_running);
  out.gauge("vllm:num_requests_waiting", "Requests that wait for their first step.",
            now.num_waiting);
  out.counters("vllm:request_success_total", "Requests that ended, by why.", "finished_reason",
               kFinishReasonNames, now.requests_ended);
  out.counters("kvinfer:requests_refused_total", "Requests refused when they were made.", "reason",
               kRefusalNames, now.refusals);
  out.counter("vllm:num_preemptions_total", "Requests whose pages were taken while they ran.",
              now.preemptions[0] + now.preemptions[1]);
  out.counters("kvinfer:preemptions_total", "The same, by how they come back.", "how",
               kPreemptionNames, now.preemptions);
  out.counter("vllm:prompt_tokens_total", "Tokens of prompts, those found in the cache too.",
              now.prompt_tokens);
  out.counter("vllm:generation_tokens_total", "Tokens generated.", now.generated_tokens);
  out.histogram("vllm:time_to_first_token_seconds", "From the call to the first token.",
                now.time_to_first_token);
  out.histogram("vllm:inter_token_latency_seconds", "From one token to the next.",
                now.inter_token_latency);
  out.histogram("vllm:request_time_per_output_token_seconds",
                "A request's mean time of each token after its first.", now.time_per_output_token);
  out.histogram("vllm:e2e_request_latency_seconds", "From the call to the end.", now.e2e_latency);
  out.histogram("vllm:request_queue_time_seconds", "From the call to the first step.",
                now.queue_time);
  out.histogram("vllm:request_prefill_time_seconds", "From the first step to the first token.",
                now.prefill_time);
  out.histogram("vllm:request_decode_time_seconds", "From the first token to the end.",
                now.decode_time);
  out.histogram("vllm:request_inference_time_seconds", "From the first step to the end.",
                now.inference_time);
  out.histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.",
                now.request_prompt_tokens);
  out.histogram("vllm:request_generation_tokens", "Tokens that a request generated.",
                now.request_generation_tokens);
  out.histogram("vllm:iteration_tokens_total", "Tokens computed in one step.", now.step_tokens);
  out.counter("kvinfer:steps_total", "Steps computed.", now.num_steps);
  out.gauge("kvinfer:num_sessions", "Sessions that are open.", now.num_sessions);
}

void write_prefixes(Writer& out, const MetricsSnapshot& now) {
  out.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the cache.",
              now.prefix_queries);
  out.counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the cache.", now.prefix_hits);
}

// visit(tier's name, numbers) for each tier that is in use.
template <typename Visit>
void for_each_tier(const MetricsSnapshot& now, const Visit& visit) {
  for (size_t t = 0; t < kNumTiers; ++t) {
    if (now.tiers[t].is_used) visit(kTierNames[t], now.tiers[t]);
  }
}

template <typename Visit>
void for_each_group(const MetricsSnapshot& now, const Visit& visit) {
  for_each_tier(now, [&](const char* name, const MetricsSnapshot::Tier& tier) {
    for (size_t g = 0; g < tier.groups.size(); ++g) {
      visit(name, std::to_string(g), tier, tier.groups[g]);
    }
  });
}

uint64_t free_bytes(const PageUse& use) {
  return minus(use.mapped_bytes, use.allocated_bytes + use.cached_bytes + use.deferred_bytes);
}

void write_memory(Writer& out, const MetricsSnapshot& now) {
  using Tier = MetricsSnapshot::Tier;
  const Tier& device = now.tiers[static_cast<size_t>(TierId::device)];
  uint64_t held = 0;
  for (const PageUse& use : device.groups) held += use.allocated_bytes;
  out.family("vllm:kv_cache_usage_perc", "gauge",
             "The share (0 to 1) of the device's KV budget that sequences hold.");
  out.sample(ratio(held, device.budget_bytes));

  out.family("kvinfer:kv_budget_bytes", "gauge", "Bytes that KV may take in a tier.");
  for_each_tier(now, [&](const char* name, const Tier& tier) {
    out.sample(tier.budget_bytes, {{"tier", name}});
  });
  out.family("kvinfer:kv_bytes", "gauge",
             "Bytes of a layer group in a tier: mapped, and of these allocated (sequences hold "
             "them), cached (prefixes only), deferred (a transfer uses them) and free.");
  for_each_group(
      now, [&](const char* name, const std::string& group, const Tier&, const PageUse& use) {
        const std::pair<const char*, uint64_t> states[] = {{"mapped", use.mapped_bytes},
                                                           {"allocated", use.allocated_bytes},
                                                           {"cached", use.cached_bytes},
                                                           {"deferred", use.deferred_bytes},
                                                           {"free", free_bytes(use)}};
        for (const auto& [state, bytes] : states) {
          out.sample(bytes, {{"tier", name}, {"group", group}, {"state", state}});
        }
      });
  const auto ratios = [&](const char* metric, const char* help, const auto& value) {
    out.family(metric, "gauge", help);
    for_each_group(
        now, [&](const char* name, const std::string& group, const Tier& tier, const PageUse& use) {
          const std::optional<double> known = value(tier, use);
          if (known) out.sample(*known, {{"tier", name}, {"group", group}});
        });
  };
  ratios("kvinfer:kv_usage_ratio", "The share of a tier's budget that a group's sequences hold.",
         [](const Tier& tier, const PageUse& use) -> std::optional<double> {
           return ratio(use.allocated_bytes, tier.budget_bytes);
         });
  ratios("kvinfer:kv_waste_ratio", "The share of allocated pages that holds no token.",
         [](const Tier&, const PageUse& use) -> std::optional<double> {
           if (!use.token_bytes) return std::nullopt;
           return ratio(minus(use.allocated_bytes, *use.token_bytes), use.allocated_bytes);
         });
  ratios("kvinfer:kv_fragmentation_ratio", "The share of mapped memory that is free.",
         [](const Tier&, const PageUse& use) -> std::optional<double> {
           return ratio(free_bytes(use), use.mapped_bytes);
         });
}

void write_tiers(Writer& out, const MetricsSnapshot& now) {
  using Tier = MetricsSnapshot::Tier;
  const auto per_tier = [&](const char* metric, const char* help, const auto& value) {
    out.family(metric, "counter", help);
    for_each_tier(now, [&](const char* name, const Tier& tier) {
      out.sample(value(tier), {{"tier", name}});
    });
  };
  per_tier("kvinfer:prefix_cache_hit_tokens_total", "Prompt tokens found, by where they lay.",
           [](const Tier& tier) { return tier.hit_tokens; });
  per_tier("kvinfer:evicted_pages_total", "Cached pages dropped to make room.",
           [](const Tier& tier) { return tier.evicted_pages; });
  out.family("kvinfer:swap_bytes_total", "counter",
             "Bytes moved out of the device to a tier, and in from it.");
  for_each_tier(now, [&](const char* name, const Tier& tier) {
    if (name == kTierNames[0]) return;  // the device's own moves are the others'
    for (size_t i = 0; i < tier.swap_bytes.size(); ++i) {
      out.sample(tier.swap_bytes[i], {{"tier", name}, {"direction", kDirectionNames[i]}});
    }
  });
  out.counter("kvinfer:disk_failures_total", "Reads and writes of the disk tier that failed.",
              now.disk_failures);
}

}  // namespace

std::string metrics_text(const MetricsSnapshot& metrics, std::string_view model_name) {
  Writer out(model_name);
  write_requests(out, metrics);
  write_prefixes(out, metrics);
  write_memory(out, metrics);
  write_tiers(out, metrics);
  return out.take();
}

}  // namespace kvi
