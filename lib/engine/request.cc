#include "engine/request.h"

#include <algorithm>

#include "base/short_memory.h"
#include "base/text.h"

namespace kvi {
namespace {

double milliseconds_between(std::chrono::steady_clock::time_point from,
                            std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// Waits until ready() or, where there is a timeout, until it has passed; returns ready().
template <typename Ready>
bool wait_on(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
             std::optional<std::chrono::milliseconds> timeout, const Ready& ready) {
  if (timeout) return changed.wait_for(lock, *timeout, ready);
  changed.wait(lock, ready);
  return true;
}

}  // namespace

size_t Request::read(std::span<char> buffer, Finish* finish) {
  std::lock_guard lock(mutex_);
  size_t size = std::min(buffer.size(), unread_.size());
  // Back to the start of a code point that does not fit whole.
  while (size > 0 && size < unread_.size() &&
         (static_cast<unsigned char>(unread_[size]) & 0xc0) == 0x80)
    --size;
  std::copy_n(unread_.begin(), size, buffer.begin());
  unread_.erase(0, size);
  if (finish != nullptr) *finish = unread_.empty() ? usage_.finish : Finish::none;
  return size;
}

bool Request::has_unread() const {
  std::lock_guard lock(mutex_);
  return !unread_.empty();
}

bool Request::wait_readable(std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  return wait_on(changed_, lock, timeout,
                 [&] { return !unread_.empty() || usage_.finish != Finish::none; });
}

size_t Request::tokens(size_t first, std::span<TokenId> tokens, std::span<float> logprobs) const {
  std::lock_guard lock(mutex_);
  if (first >= tokens_.size()) return 0;
  const size_t count = std::min(tokens_.size() - first, std::max(tokens.size(), logprobs.size()));
  std::copy_n(tokens_.begin() + first, std::min(count, tokens.size()), tokens.begin());
  std::copy_n(logprobs_.begin() + first, std::min(count, logprobs.size()), logprobs.begin());
  return count;
}

std::vector<TokenLogprob> Request::top_logprobs(size_t index) const {
  if (options_.top_logprobs < 1) {
    throw Error(Status::INVALID_STATE, "the request was made with top_logprobs below 1");
  }
  std::lock_guard lock(mutex_);
  if (index >= top_.size()) {
    throw Error(Status::NOT_FOUND,
                concat("token ", index, " has not been generated; there are ", top_.size()));
  }
  return top_[index];
}

bool Request::await(std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  if (!wait_on(changed_, lock, timeout, [&] { return usage_.finish != Finish::none; }))
    return false;
  if (error_) throw *error_;
  return true;
}

void Request::cancel(CancelMode mode) {
  int none = 0;
  cancel_.compare_exchange_strong(none, 1 + static_cast<int>(mode));
}

std::optional<CancelMode> Request::cancel_wanted() const {
  const int wanted = cancel_.load();
  if (wanted == 0) return std::nullopt;
  return static_cast<CancelMode>(wanted - 1);
}

bool Request::past_deadline() const {
  return options_.timeout_ms &&
         Clock::now() - created_ >= std::chrono::milliseconds(*options_.timeout_ms);
}

Usage Request::usage() const {
  std::lock_guard lock(mutex_);
  Usage usage = usage_;
  const Clock::time_point now = ended_.value_or(Clock::now());
  usage.queue_ms = milliseconds_between(created_, started_.value_or(now));
  if (first_token_) usage.ttft_ms = milliseconds_between(created_, *first_token_);
  if (usage.generated_tokens > 1) {
    usage.tpot_ms = milliseconds_between(*first_token_, *last_token_) /
                    (usage.generated_tokens - 1);
  }
  usage.total_ms = milliseconds_between(created_, now);
  return usage;
}

void Request::started(uint32_t prompt_tokens, const CachedTokens& cached) {
  std::lock_guard lock(mutex_);
  started_ = Clock::now();
  usage_.prompt_tokens = prompt_tokens;
  usage_.cached_tokens = cached.total;
  usage_.host_tokens = cached.host;
  usage_.disk_tokens = cached.disk;
}

void Request::set_num_preemptions(uint32_t num_preemptions) {
  std::lock_guard lock(mutex_);
  usage_.num_preemptions = num_preemptions;
}

double Request::add_token(TokenId token, float logprob, std::vector<TokenLogprob> top) {
  std::lock_guard lock(mutex_);
  const Clock::time_point before = last_token_.value_or(created_);
  last_token_ = Clock::now();
  if (!first_token_) first_token_ = last_token_;
  reserve_more(tokens_, 1);
  reserve_more(logprobs_, 1);
  if (options_.top_logprobs > 0) reserve_more(top_, 1);
  tokens_.push_back(token);
  logprobs_.push_back(logprob);
  if (options_.top_logprobs > 0) top_.push_back(std::move(top));
  ++usage_.generated_tokens;
  return std::chrono::duration<double>(*last_token_ - before).count();
}

void Request::add_text(const std::string& text) {
  if (text.empty()) return;
  std::lock_guard lock(mutex_);
  unread_ += text;
  changed_.notify_all();
}

void Request::finish(Finish finish, std::optional<Error> error) {
  std::lock_guard lock(mutex_);
  usage_.finish = finish;
  error_ = std::move(error);
  ended_ = Clock::now();
  if (!first_token_) first_token_ = ended_;
  changed_.notify_all();
}

}  // namespace kvi
