// What the core runs: one sequence to compute, and what becomes of the logits on the way.
//
// The core computes tokens [pages.num_tokens, tokens.size()) in chunks and hands over the logits of every
// position from first_logit_position() on. All calls come from the engine's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/options.h"
#include "engine/sequence_state.h"
#include "sched/scheduler.h"

namespace kvi {

// Made beforehand, for when there is no memory for it.
inline Error out_of_memory_error() {
  return Error(Status::OUT_OF_MEMORY, "the system refused memory during a step").retryable();
}

class Job {
 public:
  explicit Job(std::shared_ptr<SequenceState> sequence)
      : sequence_(std::move(sequence)), prompt_len_(static_cast<int>(sequence_->tokens.size())) {}
  virtual ~Job() = default;

  SequenceState& sequence() { return *sequence_; }
  const SequenceState& sequence() const { return *sequence_; }
  SchedSequence& scheduled() { return scheduled_; }
  const SchedSequence& scheduled() const { return scheduled_; }
  int prompt_len() const { return prompt_len_; }                    // tokens when the job was made
  Finish finish() const { return finish_; }                         // none: goes on
  const std::optional<Error>& failure() const { return failure_; }  // where finish() is error

  // Logits are wanted after the token at this position and after all later ones.
  virtual int next_logit_position() const = 0;
  // The logits that follow the token at position; scratch afterwards. May append a token to the sequence,
  // finish the job, or fail it.
  virtual void consume(int position, std::span<float> logits) = 0;
  // How a device may choose the token after position itself, with edits appended; nullopt: the logits are wanted.
  virtual std::optional<TokenChoice> choice(std::vector<LogitEdit>&) const { return std::nullopt; }
  // What it chose, in the place of consume; -1: no logit was a number above -infinity.
  virtual void consume_chosen(TokenId) {}
  virtual void on_start(const CachedTokens& cached) = 0;
  virtual std::optional<Finish> interrupted() const = 0;  // by cancel or deadline
  // The last call: tell the outside, whatever happens. The sequence is the core's and the user's again.
  virtual void on_end(Finish finish, std::optional<Error> error) noexcept = 0;
  // Tokens to keep in the sequence when it ends thus.
  virtual uint32_t tokens_to_keep(Finish finish) const = 0;

  bool started = false;
  int64_t submitted_us = 0;  // on the core's clock

 protected:
  // For logits of which none is a number above -infinity.
  static Error not_finite_error(size_t position) {
    return Error(Status::CORRUPT,
                 concat("the logits after token ", position,
                        " are not numbers: the model's weights hold NaN or infinity, or overflow"));
  }
  void append_token(TokenId token) {
    sequence_->tokens.push_back(token);
    sequence_->num_tokens.store(static_cast<uint32_t>(sequence_->tokens.size()));
    scheduled_.num_known = static_cast<int>(sequence_->tokens.size());
  }
  void set_finish(Finish finish) { finish_ = finish; }
  void fail(Error error) {
    finish_ = Finish::error;
    failure_ = std::move(error);
  }

 private:
  const std::shared_ptr<SequenceState> sequence_;
  const int prompt_len_;
  SchedSequence scheduled_;
  Finish finish_ = Finish::none;
  std::optional<Error> failure_;
};

}  // namespace kvi
