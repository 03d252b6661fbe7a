#include "engine/request_news.h"

#include "base/error.h"
#include "base/short_memory.h"
#include "engine/request.h"

namespace kvi {

RequestNews::~RequestNews() {
  while (first_)
    take(*first_);  // one by one: a long chain would free itself in as many nested calls
}

// Out of the list, wherever it stands.
std::shared_ptr<Request> RequestNews::take(Request& request) {
  Request* const before = request.listed_after_;
  std::shared_ptr<Request>& link = before == nullptr ? first_ : before->next_listed_;
  std::shared_ptr<Request> taken = std::move(link);
  link = std::move(request.next_listed_);
  (link ? link->listed_after_ : last_) = before;
  request.listed_after_ = nullptr;
  request.listed_.store(false);
  return taken;
}

void RequestNews::post(std::shared_ptr<Request> request) {
  if (request->listed_.load()) return;
  std::lock_guard lock(mutex_);
  if (request->user_handle() == nullptr || request->listed_.exchange(true)) return;
  Request* added = request.get();
  added->listed_after_ = last_;
  (last_ == nullptr ? first_ : last_->next_listed_) = std::move(request);
  last_ = added;
  changed_.notify_one();
}

std::vector<void*> RequestNews::wait(size_t max_count,
                                     std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return first_ != nullptr || closed_; };
  std::vector<void*> handles;
  if (!timeout) {
    changed_.wait(lock, ready);
  } else if (!changed_.wait_for(lock, *timeout, ready)) {
    return handles;
  }
  if (!first_ && closed_) throw Error(Status::CLOSED, "the engine has been closed");
  while (first_ && handles.size() < max_count) {
    reserve_more(handles, 1);
    handles.push_back(take(*first_)->user_handle());
  }
  if (first_) changed_.notify_one();
  return handles;
}

void RequestNews::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

// Under the lock, so that a handle is never named after its release returned, and a request not listed again.
void RequestNews::forget(Request& request) {
  std::shared_ptr<Request> taken;  // let go of after the lock
  std::lock_guard lock(mutex_);
  request.set_user_handle(nullptr);
  if (request.listed_.load()) taken = take(request);
}

}  // namespace kvi
