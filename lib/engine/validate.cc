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

// Of plans: whatever lies within them, sums of bytes at most saturate.
constexpr uint64_t kMaxDeviceBytes = uint64_t{1} << 60;
constexpr uint32_t kMaxPlannedCount = 1u << 30;  // sequences, users
constexpr uint32_t kMaxLayers = 1u << 16;
constexpr uint32_t kMaxExperts = 1u << 16;
constexpr uint32_t kMaxHeads = 1u << 16;
constexpr uint32_t kMaxWidth = 1u << 20;    // values of a hidden state, of all heads
constexpr uint32_t kMaxEntries = 1u << 24;  // of a vocabulary, rows of an MLP
constexpr double kMaxWeightBits = 64;

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

void validate(const PlanOptions& options) {
  // Written so that NaN fails it.
  if (!(options.gpu_memory_utilization > 0 && options.gpu_memory_utilization <= 1)) {
    reject("gpu_memory_utilization", options.gpu_memory_utilization, "above 0 and at most 1");
  }
  if (options.device_memory_bytes) {
    check_range("device_memory_bytes", *options.device_memory_bytes, 1, kMaxDeviceBytes);
  }
  if (options.kv_budget_bytes)
    check_range("kv_budget_bytes", *options.kv_budget_bytes, 1, kMaxBudget);
  if (options.max_model_len) {
    check_range("max_model_len", *options.max_model_len, 1, kMaxModelLen);
  }
  if (options.sequence_len) check_range("sequence_len", *options.sequence_len, 1, kMaxModelLen);
  check_range("max_num_seqs", options.max_num_seqs, 1, kMaxSequences);
  check_range("max_num_batched_tokens", options.max_num_batched_tokens, 1, kMaxBatchTokens);
  check_range("block_size", options.block_size, kMinPageLen, kMaxPageLen);
  if (!std::has_single_bit(options.block_size)) {
    reject("block_size", options.block_size, "a power of two");
  }
  check_range("swap_space_bytes", options.swap_space_bytes, 0, kMaxDeviceBytes);
  check_range("paused_sequences", options.paused_sequences, 0, kMaxPlannedCount);
  check_range("prefix_len", options.prefix_len, 0, kMaxModelLen);
  check_range("prefix_users", options.prefix_users, 0, kMaxPlannedCount);
  if (options.num_threads) check_range("num_threads", *options.num_threads, 1, kMaxThreads);
}

void validate(const ModelShape& shape) {
  check_range("num_layers", shape.num_layers, 1, kMaxLayers);
  check_range("num_heads", shape.num_heads, 1, kMaxHeads);
  check_range("embedding_len", shape.embedding_len, 1, kMaxWidth);
  if (shape.num_kv_heads) check_range("num_kv_heads", *shape.num_kv_heads, 1, shape.num_heads);
  if (shape.head_dim) check_range("head_dim", *shape.head_dim, 1, kMaxWidth / shape.num_heads);
  if (!shape.head_dim && shape.embedding_len < shape.num_heads) {
    reject("head_dim", "missing", "given where embedding_len is below num_heads");
  }
  check_range("ffn_len", shape.ffn_len, 1, kMaxEntries);
  check_range("vocab_size", shape.vocab_size, 1, kMaxEntries);
  check_range("num_experts", shape.num_experts, 1, kMaxExperts);
  check_range("context_len", shape.context_len, 1, kMaxModelLen);
  if (!(shape.weight_bits > 0 && shape.weight_bits <= kMaxWeightBits)) {
    reject("weight_bits", shape.weight_bits, "above 0 and at most 64");
  }
  if (shape.weights_bytes) check_range("weights_bytes", *shape.weights_bytes, 1, kMaxDeviceBytes);
  check_range("window", shape.window, shape.num_window_layers > 0 ? 1 : 0, kMaxModelLen);
  // Each of them from what the others leave.
  uint32_t left = shape.num_layers;
  check_range("num_window_layers", shape.num_window_layers, 0, left);
  left -= shape.num_window_layers;
  check_range("num_shared_layers", shape.num_shared_layers, 0, left);
  left -= shape.num_shared_layers;
  check_range("num_state_layers", shape.num_state_layers, 0, left);
  check_range("state_bytes", shape.state_bytes, 0, kMaxDeviceBytes);
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
