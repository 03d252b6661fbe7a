#include "capi/generate_options.h"

#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/versioned.h"

namespace kvi::capi {
namespace {

constexpr uint32_t kMaxStops = 256;

constexpr kvi_generate_options kDefaultOptions = {
    .struct_size = sizeof(kvi_generate_options),
    .max_tokens = 256,
    .temperature = 0.8f,
    .top_k = 40,
    .top_p = 0.95f,
    .min_p = 0.05f,
    .repetition_penalty = 1,
    .presence_penalty = 0,
    .frequency_penalty = 0,
    .top_logprobs = -1,
    .seed = 0,
    .ignore_eos = 0,
    .num_stops = 0,
    .stops = nullptr,
    .biases = nullptr,
    .num_biases = 0,
    .timeout_ms = KVI_FOREVER,
    .user = nullptr,
    .priority = KVI_SESSION_PRIORITY,
};

// Counts are checked before what they count is read.
void check_count(const char* name, uint32_t count, uint32_t limit) {
  if (count > limit) {
    throw Error(Status::INVALID_ARGUMENT,
                concat(name, " is ", count, "; it must be at most ", limit));
  }
}

}  // namespace

GenerateOptions generate_options_argument(const kvi_generate_options* options, int vocab_size) {
  kvi_generate_options known = kDefaultOptions;
  if (options != nullptr) known = read_struct(options, kDefaultOptions, "options");
  GenerateOptions result;
  result.max_tokens = known.max_tokens;
  result.sampling.temperature = known.temperature;
  result.sampling.top_k = known.top_k;
  result.sampling.top_p = known.top_p;
  result.sampling.min_p = known.min_p;
  result.sampling.repetition_penalty = known.repetition_penalty;
  result.sampling.presence_penalty = known.presence_penalty;
  result.sampling.frequency_penalty = known.frequency_penalty;
  result.sampling.seed = known.seed;
  result.top_logprobs = known.top_logprobs;
  result.ignore_eos = flag_argument(known.ignore_eos, "ignore_eos");
  if (known.priority != KVI_SESSION_PRIORITY) {
    if (known.priority < -1000 || known.priority > 1000)
      reject_value("priority", known.priority, "from -1000 to 1000, or KVI_SESSION_PRIORITY");
    result.priority = known.priority;
  }
  if (known.timeout_ms != KVI_FOREVER) result.timeout_ms = known.timeout_ms;
  check_count("num_stops", known.num_stops, kMaxStops);
  for (const kvi_stop_text& stop : array_argument(known.stops, known.num_stops, "stops")) {
    result.stops.emplace_back(text_argument(stop.text, stop.size, "a stop text"));
  }
  check_count("num_biases", known.num_biases, static_cast<uint32_t>(vocab_size));
  for (const kvi_logit_bias& bias : array_argument(known.biases, known.num_biases, "biases")) {
    result.sampling.biases.push_back({bias.token, bias.bias});
  }
  return result;
}

void* user_of(const kvi_generate_options* options) {
  return options != nullptr ? read_known(options, kDefaultOptions, "options").user : nullptr;
}

}  // namespace kvi::capi

using namespace kvi::capi;

extern "C" kvi_status kvi_generate_options_init(kvi_generate_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}
