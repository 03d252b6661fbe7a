// Which requests of an engine have something new: one waiter serves thousands.
//
// Thread-safe. Each piece of news goes to one waiter; a request is listed at most once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace kvi {

class Request;

class RequestNews {
 public:
  void post(std::shared_ptr<Request> request);
  // User handles of requests with news, at most max_count; empty after timeout. Throws CLOSED when closed
  // and nothing is left.
  std::vector<void*> wait(size_t max_count, std::optional<std::chrono::milliseconds> timeout);
  void close();
  // A user releases its handle: it is not named from here on.
  void forget(Request& request);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Request>> listed_;
  bool closed_ = false;
};

}  // namespace kvi
