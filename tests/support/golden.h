// Reads the goldens of the forward pass; tests/goldens/README.md describes both formats.
//
// Strict: throws Error CORRUPT, naming the file, unless every count fits and the file ends where it should.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace kvi {

// The distribution of one token, cut to its most likely values.
struct GoldenDistribution {
  std::vector<int32_t> ids;     // [top_k], best first
  std::vector<float> logprobs;  // [top_k]
  float rest = 0;               // the probability of all other tokens together

  float top2_gap() const { return logprobs[0] - logprobs[1]; }  // logits
};

struct ForwardGolden {
  std::string name;
  std::vector<int32_t> prompt;
  std::vector<int32_t> continuation;              // [num_positions]
  std::vector<GoldenDistribution> distributions;  // [num_positions], of continuation[i]

  std::vector<int32_t> all_tokens() const;  // prompt, then continuation
};

struct ForwardGoldens {
  int vocab_size = 0;
  std::array<uint8_t, 32> model_sha256 = {};  // of the GGUF file
  std::vector<ForwardGolden> prompts;
};

struct TinyGolden {
  std::vector<int32_t> prompt;
  std::vector<int32_t> positions;          // ascending, inside the prompt
  std::vector<std::vector<float>> logits;  // [num_positions][vocab_size]
};

struct TinyGoldens {
  int vocab_size = 0;
  std::vector<TinyGolden> prompts;
};

ForwardGoldens read_forward_goldens(const std::string& path);
TinyGoldens read_tiny_goldens(const std::string& path);

}  // namespace kvi
