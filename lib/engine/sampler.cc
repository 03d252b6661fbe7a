#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace kvi {
namespace {

// Total order: larger value first, then the lower id, so that results never depend on a sort's whims.
template <typename T>
bool better(const T& a, const T& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

// The n best of logits, best first. A heap of n keeps the pass over the vocabulary to one compare a token.
template <typename T>
void select_best(std::span<const float> logits, size_t n, std::vector<T>& best) {
  best.clear();
  if (n == 0) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float value = logits[i];
    if (best.size() == n) {
      if (!(value > best.front().value)) continue;
      std::pop_heap(best.begin(), best.end(), better<T>);
      best.pop_back();
    } else if (std::isnan(value)) {
      continue;
    }
    best.push_back({static_cast<TokenId>(i), value});
    std::push_heap(best.begin(), best.end(), better<T>);
  }
  std::sort_heap(best.begin(), best.end(), better<T>);
}

struct Ranked {
  TokenId token;
  float value;
};

}  // namespace

Sampler::Sampler(const SamplingOptions& options, std::span<const TokenId> session_tokens)
    : options_(options) {
  for (const LogitBias& bias : options_.biases) edit_of(bias.token).bias += bias.bias;
  if (options_.repetition_penalty != 1) {
    for (TokenId token : session_tokens) edit_of(token).repetition = options_.repetition_penalty;
  }
}

bool Sampler::has_penalties() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 ||
         options_.frequency_penalty != 0;
}

LogitEdit& Sampler::edit_of(TokenId token) {
  const auto [place, is_new] = seen_.try_emplace(token, Seen{edits_.size()});
  if (is_new) edits_.push_back({.token = token});
  return edits_[place->second.edit];
}

void Sampler::add_generated(TokenId token) {
  if (!has_penalties()) return;
  LogitEdit& edit = edit_of(token);
  edit.repetition = options_.repetition_penalty;
  edit.penalty = options_.presence_penalty +
                 options_.frequency_penalty * static_cast<float>(++seen_.at(token).num_generated);
}

TokenChoice Sampler::choice(uint64_t index) const {
  TokenChoice choice;
  choice.temperature = options_.temperature;
  choice.top_p = options_.top_p;
  choice.min_p = options_.min_p;
  choice.top_k = static_cast<int>(std::min<uint32_t>(options_.top_k, INT32_MAX));
  choice.unit = random_unit(options_.seed, index);
  choice.num_edits = static_cast<int>(edits_.size());
  return choice;
}

std::optional<TokenId> Sampler::sample(std::span<float> logits, uint64_t index) {
  for (const LogitEdit& edit : edits_) logits[edit.token] = edited(logits[edit.token], edit);
  if (options_.temperature == 0) {
    const TokenId best = argmax(logits);
    return logits[best] > -INFINITY ? std::optional(best) : std::nullopt;
  }
  select_candidates(logits);
  if (candidates_.empty() || candidates_.front().value == -INFINITY) return std::nullopt;
  keep_most_probable();
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.value;
  double left = random_unit(options_.seed, index) * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.value;
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;
}

void Sampler::select_candidates(std::span<const float> logits) {
  size_t count = options_.top_k == 0 ? logits.size()
                                     : std::min<size_t>(options_.top_k, logits.size());
  if (count * 4 < logits.size()) {
    select_best(logits, count, candidates_);
  } else {
    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!std::isnan(logits[i])) candidates_.push_back({static_cast<TokenId>(i), logits[i]});
    }
    std::sort(candidates_.begin(), candidates_.end(), better<Candidate>);
    candidates_.resize(std::min(count, candidates_.size()));
  }
}

// Logits become probabilities (unnormalised: the best is 1), cut by top_p and min_p.
void Sampler::keep_most_probable() {
  const double best = candidates_.front().value;
  double total = 0;
  for (Candidate& candidate : candidates_) {
    const double difference = candidate.value == best
                                  ? 0
                                  : candidate.value - best;  // also for infinities
    candidate.value = static_cast<float>(std::exp(difference / options_.temperature));
    total += candidate.value;
  }
  size_t kept = 0;
  double mass = 0;
  while (kept < candidates_.size() && (kept == 0 || (mass < options_.top_p * total &&
                                                     candidates_[kept].value >= options_.min_p &&
                                                     candidates_[kept].value > 0))) {
    mass += candidates_[kept++].value;
  }
  candidates_.resize(kept);
}

TokenId argmax(std::span<const float> logits) {
  TokenId best = 0;
  float largest = -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<TokenId>(i);
    }
  }
  return best;
}

float log_sum_exp(std::span<const float> logits) {
  const float largest = logits[argmax(logits)];
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  return static_cast<float>(largest + std::log(sum));
}

std::vector<TokenLogprob> most_probable(std::span<const float> logits, int n) {
  std::vector<Ranked> best;
  select_best(logits, static_cast<size_t>(n), best);
  const float norm = log_sum_exp(logits);
  std::vector<TokenLogprob> result;
  for (const Ranked& ranked : best) result.push_back({ranked.token, ranked.value - norm});
  return result;
}

}  // namespace kvi
