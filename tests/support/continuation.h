// What a session says next, through the C ABI, as text that shows every bit: for comparing two of them, in this process
// or in another one.
#pragma once

#include <kvinfer/kvinfer.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace kvi {

struct Continuation {
  kvi_status status = KVI_OK;
  uint32_t cached_tokens = 0;
  std::string bits;  // each token with its log-probability, and those of the 8 most probable ones
};

inline Continuation continue_session(kvi_session* session, uint32_t max_tokens) {
  Continuation result;
  kvi_generate_options options;
  kvi_generate_options_init(&options, sizeof options);
  options.max_tokens = max_tokens;
  options.top_logprobs = 8;
  options.seed = 5;
  options.ignore_eos = 1;
  kvi_request* request = nullptr;
  result.status = kvi_session_generate(session, &options, &request, nullptr);
  if (result.status != KVI_OK) return result;
  result.status = kvi_request_await(request, KVI_FOREVER, nullptr);
  kvi_usage usage;
  kvi_usage_init(&usage, sizeof usage);
  kvi_request_get_usage(request, &usage, nullptr);
  result.cached_tokens = usage.cached_tokens;
  std::vector<int32_t> tokens(max_tokens);
  std::vector<float> logprobs(max_tokens);
  size_t count = 0;
  kvi_request_tokens(request, 0, tokens.data(), logprobs.data(), max_tokens, &count, nullptr);
  const auto add = [&](int32_t token, float logprob) {
    char text[32];
    std::snprintf(text, sizeof text, "%d:%08x ", token, std::bit_cast<uint32_t>(logprob));
    result.bits += text;
  };
  for (size_t i = 0; i < count; ++i) {
    add(tokens[i], logprobs[i]);
    int32_t top[8];
    float top_logprobs[8];
    size_t num_top = 0;
    kvi_request_top_logprobs(request, i, top, top_logprobs, 8, &num_top, nullptr);
    for (size_t j = 0; j < num_top; ++j) add(top[j], top_logprobs[j]);
  }
  kvi_request_release(request);
  return result;
}

}  // namespace kvi
