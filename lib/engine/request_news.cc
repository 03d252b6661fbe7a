#include "engine/request_news.h"

#include "base/error.h"
#include "base/short_memory.h"
#include "engine/request.h"

namespace kvi {

RequestNews::~RequestNews() {
  while (first_) pop();  // one by one: a long chain would free itself in as many nested calls
}

std::shared_ptr<Request> RequestNews::pop() {
  std::shared_ptr<Request> request = std::move(first_);
  first_ = std::move(request->next_listed_);
  if (!first_) last_ = nullptr;
  return request;
}

void RequestNews::post(std::shared_ptr<Request> request) {
  if (request->user_handle() == nullptr || request->listed_.exchange(true)) return;
  std::lock_guard lock(mutex_);
  Request* added = request.get();
  (last_ == nullptr ? first_ : last_->next_listed_) = std::move(request);
  last_ = added;
  changed_.notify_one();
}

std::vector<void*> RequestNews::wait(size_t max_count,
                                     std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto deadline = std::chrono::steady_clock::now() +
                        timeout.value_or(std::chrono::milliseconds(0));
  const auto ready = [&] { return first_ != nullptr || closed_; };
  std::vector<void*> handles;
  // Requests whose users released them are listed too: only a handle, the end or the deadline ends the wait.
  while (handles.empty()) {
    if (!timeout) {
      changed_.wait(lock, ready);
    } else if (!changed_.wait_until(lock, deadline, ready)) {
      break;
    }
    while (first_ && handles.size() < max_count) {
      reserve_more(handles, 1);
      const std::shared_ptr<Request> request = pop();
      request->listed_.store(false);
      if (void* handle = request->user_handle()) handles.push_back(handle);
    }
    if (handles.empty() && closed_) throw Error(Status::CLOSED, "the engine has been closed");
    if (max_count == 0) break;
  }
  if (first_) changed_.notify_one();
  return handles;
}

void RequestNews::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

// Under the lock, so that a handle is never named after its release returned.
void RequestNews::forget(Request& request) {
  std::lock_guard lock(mutex_);
  request.set_user_handle(nullptr);
}

}  // namespace kvi
