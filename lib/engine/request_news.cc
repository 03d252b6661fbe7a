#include "engine/request_news.h"

#include "base/error.h"
#include "engine/request.h"

namespace kvi {

void RequestNews::post(std::shared_ptr<Request> request) {
  if (request->user_handle() == nullptr || request->listed_.exchange(true)) return;
  std::lock_guard lock(mutex_);
  listed_.push_back(std::move(request));
  changed_.notify_one();
}

std::vector<void*> RequestNews::wait(size_t max_count,
                                     std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto deadline = std::chrono::steady_clock::now() +
                        timeout.value_or(std::chrono::milliseconds(0));
  const auto ready = [&] { return !listed_.empty() || closed_; };
  std::vector<void*> handles;
  // Requests whose users released them are listed too: only a handle, the end or the deadline ends the wait.
  while (handles.empty()) {
    if (!timeout) {
      changed_.wait(lock, ready);
    } else if (!changed_.wait_until(lock, deadline, ready)) {
      break;
    }
    while (!listed_.empty() && handles.size() < max_count) {
      listed_.front()->listed_.store(false);
      if (void* handle = listed_.front()->user_handle()) handles.push_back(handle);
      listed_.pop_front();
    }
    if (handles.empty() && closed_) throw Error(Status::CLOSED, "the engine has been closed");
    if (max_count == 0) break;
  }
  if (!listed_.empty()) changed_.notify_one();
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
