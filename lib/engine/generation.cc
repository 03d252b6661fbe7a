#include "engine/generation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/short_memory.h"

namespace kvi {

Generation::Generation(const std::shared_ptr<SequenceState>& sequence,
                       std::shared_ptr<Request> request, std::shared_ptr<RequestNews> news,
                       std::shared_ptr<Metrics> metrics, const Tokenizer& tokenizer,
                       uint32_t max_model_len)
    : Job(sequence),
      request_(std::move(request)),
      news_(std::move(news)),
      metrics_(std::move(metrics)),
      tokenizer_(tokenizer),
      max_model_len_(max_model_len),
      sampler_(request_->options().sampling, sequence->tokens),
      decoder_(tokenizer, false, TextStart::continued),
      stops_(request_->options().stops) {}

bool Generation::has_room() {
  if (request_->options().max_tokens == 0) {
    set_finish(Finish::length);
  } else if (sequence().tokens.size() >= max_model_len_) {
    set_finish(Finish::context);
  }
  return finish() == Finish::none;
}

void Generation::consume(int, std::span<float> logits) {
  const GenerateOptions& options = request_->options();
  if (!has_room()) return;

  float norm = 0;
  std::vector<TokenLogprob> top;
  if (options.top_logprobs >= 0) {
    norm = log_sum_exp(logits);
    if (options.top_logprobs > 0) top = most_probable(logits, options.top_logprobs);
    own_logits_.assign(logits.begin(), logits.end());
  }
  const std::optional<TokenId> token = sampler_.sample(logits, num_generated_);
  if (!token) {
    return fail(no_token_error(
        std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); })));
  }
  take(*token, own_logits_.empty() ? NAN : own_logits_[*token] - norm, std::move(top));
}

std::optional<TokenChoice> Generation::choice(std::vector<LogitEdit>& edits) const {
  if (request_->options().top_logprobs >= 0) return std::nullopt;
  TokenChoice choice = sampler_.choice(num_generated_);
  choice.first_edit = static_cast<int>(edits.size());
  edits.insert(edits.end(), sampler_.edits().begin(), sampler_.edits().end());
  return choice;
}

void Generation::consume_chosen(TokenId token) {
  if (!has_room()) return;
  if (token < 0) return fail(no_token_error(request_->options().sampling.biases.empty()));
  take(token, NAN, {});
}

void Generation::take(TokenId token, float logprob, std::vector<TokenLogprob> top) {
  const GenerateOptions& options = request_->options();
  if (!options.ignore_eos && tokenizer_.is_end_of_generation(token)) return set_finish(Finish::eos);

  append_token(token);
  sampler_.add_generated(token);
  ++num_generated_;
  const double seconds = request_->add_token(token, logprob, std::move(top));
  metrics_->token_generated(seconds, num_generated_ == 1);
  // Ids past the vocabulary (rows that only pad the embedding) have no text.
  if (token < tokenizer_.vocab_size()) request_->add_text(stops_.push(decoder_.push(token)));
  news_->post(request_);
  if (stops_.stopped()) {
    set_finish(Finish::stop);
  } else if (num_generated_ == options.max_tokens) {
    set_finish(Finish::length);
  } else if (sequence().tokens.size() >= max_model_len_) {
    set_finish(Finish::context);
  }
}

// Biases can forbid a token, but make no NaN.
Error Generation::no_token_error(bool has_nan) const {
  if (!has_nan && !request_->options().sampling.biases.empty()) {
    return Error(Status::INVALID_ARGUMENT,
                 "the logit biases forbid every token; allow at least one");
  }
  return not_finite_error(sequence().tokens.size() - 1);
}

void Generation::on_start(const CachedTokens& cached) {
  request_->started(static_cast<uint32_t>(prompt_len()), cached);
  metrics_->request_started(request_->usage());
}

std::optional<Finish> Generation::interrupted() const {
  if (request_->cancel_wanted() || request_->past_deadline()) return Finish::cancelled;
  return std::nullopt;
}

void Generation::on_end(Finish finish, std::optional<Error> error) noexcept {
  request_->set_num_preemptions(static_cast<uint32_t>(scheduled().num_preemptions));
  const bool is_all_told = try_to([&] {
    request_->add_text(stops_.push(decoder_.finish()));
    if (stops_.stopped() && finish != Finish::error && finish != Finish::cancelled)
      finish = Finish::stop;
    request_->add_text(stops_.finish());
  });
  if (!is_all_told && finish != Finish::error) {
    finish = Finish::error;
    error = out_of_memory_;
  }
  // Before anybody is told, so that whoever awaited the end finds it counted.
  Usage usage = request_->usage();
  usage.finish = finish;
  metrics_->request_ended(usage);
  request_->finish(finish, std::move(error));
  news_->post(request_);
}

uint32_t Generation::tokens_to_keep(Finish finish) const {
  const bool rollback = finish == Finish::cancelled &&
                        request_->cancel_wanted() == CancelMode::rollback;
  return static_cast<uint32_t>(prompt_len()) + (rollback ? 0 : num_generated_);
}

}  // namespace kvi
