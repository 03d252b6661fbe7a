// A job that scores given tokens, position by position, into its caller's buffers.
//
// The caller blocks in wait() while the engine's thread fills them.
#pragma once

#include <condition_variable>
#include <mutex>

#include "engine/job.h"

namespace kvi {

// Where results for tokens[first .. count) go; each may be empty.
struct ScoreOutput {
  std::span<float> logprobs;  // [count - first]
  std::span<TokenId> top1;    // [count - first]
  std::span<float> logits;    // [count - first][vocab]
};

class Scoring final : public Job {
 public:
  Scoring(std::shared_ptr<SequenceState> sequence, size_t first, const ScoreOutput& out)
      : Job(std::move(sequence)), first_(first), out_(out), next_(first) {}

  void wait();  // blocks until the end; throws the error it ended with

  int next_logit_position() const override { return static_cast<int>(next_) - 1; }
  void consume(int position, std::span<float> logits) override;
  void on_start(const CachedTokens&) override {}
  std::optional<Finish> interrupted() const override { return std::nullopt; }
  void on_end(Finish finish, std::optional<Error> error) noexcept override;
  uint32_t tokens_to_keep(Finish) const override { return 0; }

 private:
  const size_t first_;
  const ScoreOutput out_;
  size_t next_;  // the first token that has no score yet
  std::mutex mutex_;
  std::condition_variable changed_;
  const Error closed_{Status::CLOSED, "the engine was closed while scoring"};
  bool ended_ = false;
  std::optional<Error> error_;
};

}  // namespace kvi
