// One generation as both sides see it: the engine's thread writes output, users read, wait and cancel.
//
// Thread-safe. Holds no engine and no session, so that neither is kept alive by unread output.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/options.h"

namespace kvi {

class RequestNews;

class Request {
 public:
  explicit Request(GenerateOptions options) : options_(std::move(options)) {}

  // -- users --
  // As many whole code points as fit. finish stays none until everything has been read.
  size_t read(std::span<char> buffer, Finish* finish);
  bool has_unread() const;
  // Blocks until there is text, or the end: true; false after timeout. (Not for the engine's thread.)
  bool wait_readable(std::optional<std::chrono::milliseconds> timeout);
  // Generated ids (and their logprobs) from first on; returns how many were written.
  size_t tokens(size_t first, std::span<TokenId> tokens, std::span<float> logprobs) const;
  std::vector<TokenLogprob> top_logprobs(size_t index) const;  // throws NOT_FOUND, INVALID_STATE
  // True when it has ended. Throws the request's error when it finished with one.
  bool await(std::optional<std::chrono::milliseconds> timeout);
  void cancel(CancelMode mode);  // no effect after the end
  Usage usage() const;
  const GenerateOptions& options() const { return options_; }

  // The handle that users know this request by, for RequestNews; null: released.
  void set_user_handle(void* handle) { user_handle_.store(handle); }
  void* user_handle() const { return user_handle_.load(); }

  // -- the engine's thread --
  std::optional<CancelMode> cancel_wanted() const;
  bool past_deadline() const;
  void started(uint32_t prompt_tokens, const CachedTokens& cached);
  void set_num_preemptions(uint32_t num_preemptions);
  // Returns the seconds since the token before, or since the request was made.
  double add_token(TokenId token, float logprob, std::vector<TokenLogprob> top);
  void add_text(const std::string& text);
  void finish(Finish finish, std::optional<Error> error = std::nullopt);

 private:
  friend class RequestNews;
  using Clock = std::chrono::steady_clock;

  const GenerateOptions options_;
  const Clock::time_point created_ = Clock::now();
  std::atomic<void*> user_handle_{nullptr};
  std::atomic<int> cancel_{0};            // 0: no; 1 + CancelMode
  std::atomic<bool> listed_{false};       // in RequestNews, not yet handed to a waiter
  std::shared_ptr<Request> next_listed_;  // there; guarded by its mutex, as is the one before
  Request* listed_after_ = nullptr;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string unread_;
  std::vector<TokenId> tokens_;
  std::vector<float> logprobs_;
  std::vector<std::vector<TokenLogprob>> top_;
  Usage usage_;
  std::optional<Error> error_;
  std::optional<Clock::time_point> started_, first_token_, last_token_, ended_;
};

}  // namespace kvi
