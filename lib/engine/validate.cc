#include "engine/validate.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cache/eviction.h"

namespace kvi {
namespace {

constexpr uint32_t kMaxModelLen = 1u << 24;  // tokens
constexpr uint32_t kMaxSequences = 4096;
constexpr uint32_t kMaxBatchTokens = 1u << 16;
constexpr uint32_t kMaxQueued = 1u << 20;
constexpr uint32_t kMinPageLen = 16;
constexpr uint32_t kMaxPageLen = 256;
constexpr uint32_t kMaxThreads = 256;
constexpr uint64_t kMaxBudget = uint64_t{1} << 46;  // bytes; well inside the addresses of a process
constexpr int kMaxTopLogprobs = 64;
constexpr double kMaxGrowFactor = 1000;
constexpr uint32_t kMaxCacheEvents = 1u << 20;

template <typename T>
[[noreturn]] void reject(const char* name, T value, const char* range) {
  throw Error(Status::INVALID_ARGUMENT, concat(name, " is ", value, "; it must be ", range));
}

void check_range(const char* name, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return;
  reject(name, value, concat("from ", low, " to ", high).c_str());
}

}  // namespace

void validate(const EngineOptions& options) {
  if (options.max_model_len) {
    check_range("max_model_len", *options.max_model_len, 1, kMaxModelLen);
  }
  check_range("max_sequences", options.max_sequences, 1, kMaxSequences);
  check_range("max_batch_tokens", options.max_batch_tokens, 1, kMaxBatchTokens);
  check_range("max_queued", options.max_queued, 1, kMaxQueued);
  check_range("page_len", options.page_len, kMinPageLen, kMaxPageLen);
  if (!std::has_single_bit(options.page_len)) {
    reject("page_len", options.page_len, "a power of two");
  }
  if (options.num_threads) check_range("num_threads", *options.num_threads, 1, kMaxThreads);
  check_range("kv_budget_bytes", options.kv_budget_bytes, 1, kMaxBudget);
  if (options.kv_budget_max_bytes != 0) {
    check_range("kv_budget_max_bytes", options.kv_budget_max_bytes, options.kv_budget_bytes,
                kMaxBudget);
  }
  // Written so that NaN fails every one of them.
  if (!(options.kv_grow_at >= 0 && options.kv_grow_at <= 1))
    reject("kv_grow_at", options.kv_grow_at, "from 0 to 1");
  if (!(options.kv_grow_factor > 1 && options.kv_grow_factor <= kMaxGrowFactor))
    reject("kv_grow_factor", options.kv_grow_factor, "above 1 and at most 1000");
  if (!(options.tenant_share > 0 && options.tenant_share <= 1))
    reject("tenant_share", options.tenant_share, "above 0 and at most 1");
  make_eviction_policy(options.eviction_policy);  // throws for a name that is not known
  check_range("host_cache_bytes", options.host_cache_bytes, 0, kMaxBudget);
  check_range("disk_cache_bytes", options.disk_cache_bytes, 0, kMaxBudget);
  check_range("cache_events", options.num_cache_events, 0, kMaxCacheEvents);
  if (options.disk_cache_bytes > 0 && options.disk_cache_folder.empty()) {
    throw Error(Status::INVALID_ARGUMENT,
                "disk_cache_bytes is set and disk_cache_folder is not; name a folder");
  }
}

void validate(const GenerateOptions& options, int vocab_size) {
  const SamplingOptions& sampling = options.sampling;
  // Written so that NaN fails every one of them.
  if (!(sampling.temperature >= 0 && std::isfinite(sampling.temperature))) {
    reject("temperature", sampling.temperature, "0 or a positive number");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    reject("top_p", sampling.top_p, "above 0 and at most 1");
  }
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    reject("min_p", sampling.min_p, "from 0 to 1");
  }
  if (!(sampling.repetition_penalty > 0 && std::isfinite(sampling.repetition_penalty))) {
    reject("repetition_penalty", sampling.repetition_penalty, "a positive number");
  }
  if (!std::isfinite(sampling.presence_penalty)) {
    reject("presence_penalty", sampling.presence_penalty, "a number");
  }
  if (!std::isfinite(sampling.frequency_penalty)) {
    reject("frequency_penalty", sampling.frequency_penalty, "a number");
  }
  if (options.top_logprobs < -1 || options.top_logprobs > kMaxTopLogprobs) {
    reject("top_logprobs", options.top_logprobs, "from -1 to 64");
  }
  for (const LogitBias& bias : sampling.biases) {
    if (bias.token < 0 || bias.token >= vocab_size) {
      reject("the token of a logit bias", bias.token, concat("from 0 to ", vocab_size - 1).c_str());
    }
    if (std::isnan(bias.bias) || bias.bias == INFINITY) {
      reject("a logit bias", bias.bias, "a number, or -infinity to forbid its token");
    }
  }
  for (const std::string& stop : options.stops) {
    if (stop.empty()) throw Error(Status::INVALID_ARGUMENT, "a stop text is empty");
    if (!is_utf8(stop)) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat("the stop text ", quoted(stop), " is not UTF-8 from byte ",
                         valid_utf8_prefix(stop), " on"));
    }
  }
}

}  // namespace kvi
