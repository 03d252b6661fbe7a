// Chooses the next token from logits, and says what the model thought of it.
//
// The choice depends on the options, the logits, the counts of earlier tokens and the seed's n-th number
// only: not on what runs beside it.
//
// Not thread-safe: one request, one sampler.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "engine/options.h"

namespace kvi {

class Sampler {
 public:
  // session_tokens: what the session held before the request (for the repetition penalty).
  Sampler(const SamplingOptions& options, std::span<const TokenId> session_tokens);

  // What is done to logits before the next token is chosen from them: of different tokens.
  std::span<const LogitEdit> edits() const { return edits_; }
  // As sample would choose, for a device that does it; its edits are edits().
  TokenChoice choice(uint64_t index) const;

  // logits: [vocab]; used as scratch. index: of the token within the request, 0 for the first.
  // Nothing where no logit is above -infinity.
  std::optional<TokenId> sample(std::span<float> logits, uint64_t index);
  void add_generated(TokenId token);

 private:
  bool has_penalties() const;
  LogitEdit& edit_of(TokenId token);
  void select_candidates(std::span<const float> logits);
  void keep_most_probable();

  const SamplingOptions options_;
  std::vector<LogitEdit> edits_;
  struct Seen {
    size_t edit;  // its index
    uint32_t num_generated = 0;
  };
  std::unordered_map<TokenId, Seen> seen_;  // tokens that have an edit
  struct Candidate {
    TokenId token;
    float value;  // logit, later probability
  };
  std::vector<Candidate> candidates_;  // best first
};

// The largest logit, ties to the lower id. Logits that are NaN lose.
TokenId argmax(std::span<const float> logits);

// Log-probabilities of the model's own distribution: the chosen token's, and the n most probable, best first.
float log_sum_exp(std::span<const float> logits);
std::vector<TokenLogprob> most_probable(std::span<const float> logits, int n);

}  // namespace kvi
