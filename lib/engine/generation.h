// A job that generates: samples the next token, turns tokens into text, decides when to stop.
//
// Runs on the engine's thread; its Request carries the output to users.
#pragma once

#include <memory>

#include "engine/job.h"
#include "engine/metrics.h"
#include "engine/request.h"
#include "engine/request_news.h"
#include "engine/sampler.h"
#include "engine/stop_matcher.h"
#include "tokenizer/stream_decoder.h"

namespace kvi {

class Generation final : public Job {
 public:
  Generation(const std::shared_ptr<SequenceState>& sequence, std::shared_ptr<Request> request,
             std::shared_ptr<RequestNews> news, std::shared_ptr<Metrics> metrics,
             const Tokenizer& tokenizer, uint32_t max_model_len);

  int next_logit_position() const override {
    return static_cast<int>(sequence().tokens.size()) - 1;
  }
  void consume(int position, std::span<float> logits) override;
  std::optional<TokenChoice> choice(std::vector<LogitEdit>& edits) const override;
  void consume_chosen(TokenId token) override;
  void on_start(const CachedTokens& cached) override;
  std::optional<Finish> interrupted() const override;
  void on_end(Finish finish, std::optional<Error> error) noexcept override;
  uint32_t tokens_to_keep(Finish finish) const override;

 private:
  bool has_room();  // else it is finished
  void take(TokenId token, float logprob, std::vector<TokenLogprob> top);
  Error no_token_error(bool has_nan) const;

  const std::shared_ptr<Request> request_;
  const std::shared_ptr<RequestNews> news_;
  const std::shared_ptr<Metrics> metrics_;
  const Tokenizer& tokenizer_;
  const uint32_t max_model_len_;
  uint32_t num_generated_ = 0;
  // The model's, where logprobs are wanted; sampling changes the others.
  std::vector<float> own_logits_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopMatcher stops_;
  const Error out_of_memory_ = out_of_memory_error();
};

}  // namespace kvi
