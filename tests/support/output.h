// What a request generated, to be compared to the bit.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace kvi {

struct Output {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;  // of them
  Usage usage;

  // Equal logits give equal bits here, and unequal ones hardly ever do.
  bool operator==(const Output& other) const {
    return tokens == other.tokens && usage.finish == other.usage.finish &&
           logprobs.size() == other.logprobs.size() &&
           std::memcmp(logprobs.data(), other.logprobs.data(), logprobs.size() * sizeof(float)) ==
               0;
  }
};

// Awaits its end.
inline Output output_of(Request& request) {
  request.await(std::nullopt);
  Output output;
  output.usage = request.usage();
  output.tokens.resize(output.usage.generated_tokens);
  output.logprobs.resize(output.tokens.size());
  request.tokens(0, output.tokens, output.logprobs);
  return output;
}

inline GenerateOptions sampled(uint64_t seed, uint32_t max_tokens = 24) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.sampling.seed = seed;
  options.top_logprobs = 0;
  options.ignore_eos = true;
  return options;
}

}  // namespace kvi
