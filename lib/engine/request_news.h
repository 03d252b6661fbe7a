// Which requests of an engine have something new: one waiter serves thousands.
//
// Thread-safe. Each piece of news goes to one waiter; a request is listed at most once, and is itself the link to its
// neighbours, so that listing it cannot fail.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace kvi {

class Request;

class RequestNews {
 public:
  ~RequestNews();

  void post(std::shared_ptr<Request> request);
  // User handles of requests with news, at most max_count; empty after timeout. Throws CLOSED when closed
  // and nothing is left.
  std::vector<void*> wait(size_t max_count, std::optional<std::chrono::milliseconds> timeout);
  void close();
  // A user releases its handle: it is not named from here on, and not kept.
  void forget(Request& request);

 private:
  std::shared_ptr<Request> take(Request& request);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Request> first_;
  Request* last_ = nullptr;
  bool closed_ = false;
};

}  // namespace kvi
