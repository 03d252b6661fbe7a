#include "engine/scoring.h"

#include <algorithm>
#include <cmath>

#include "engine/sampler.h"

namespace kvi {

void Scoring::consume(int position, std::span<float> logits) {
  const size_t next = static_cast<size_t>(position) + 1;  // the token that these logits predict
  if (next >= sequence().tokens.size()) return set_finish(Finish::length);
  const TokenId best = argmax(logits);
  if (!std::isfinite(logits[best])) return fail(not_finite_error(static_cast<size_t>(position)));
  next_ = next + 1;
  const size_t i = next - first_;
  if (!out_.logprobs.empty())
    out_.logprobs[i] = logits[sequence().tokens[next]] - log_sum_exp(logits);
  if (!out_.top1.empty()) out_.top1[i] = best;
  if (!out_.logits.empty())
    std::copy(logits.begin(), logits.end(), out_.logits.begin() + i * logits.size());
  if (next + 1 == sequence().tokens.size()) set_finish(Finish::length);
}

void Scoring::on_end(Finish finish, std::optional<Error> error) noexcept {
  std::lock_guard lock(mutex_);
  ended_ = true;
  error_ = std::move(error);
  if (finish == Finish::cancelled) error_ = closed_;
  changed_.notify_all();
}

void Scoring::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_; });
  if (error_) throw *error_;
}

}  // namespace kvi
