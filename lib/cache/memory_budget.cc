#include "cache/memory_budget.h"

#include "base/error.h"

namespace kvi {

bool MemoryBudget::lease(uint64_t num_bytes) {
  std::lock_guard lock(mutex_);
  if (leased_ > limit_ || num_bytes > limit_ - leased_) return false;
  leased_ += num_bytes;
  return true;
}

void MemoryBudget::give_back(uint64_t num_bytes) {
  std::lock_guard lock(mutex_);
  KVI_CHECK(num_bytes <= leased_);
  leased_ -= num_bytes;
}

void MemoryBudget::set_limit(uint64_t limit_bytes) {
  std::lock_guard lock(mutex_);
  limit_ = limit_bytes;
  for (const auto& [id, called] : members_) called();
}

uint64_t MemoryBudget::limit() const {
  std::lock_guard lock(mutex_);
  return limit_;
}

uint64_t MemoryBudget::leased() const {
  std::lock_guard lock(mutex_);
  return leased_;
}

size_t MemoryBudget::num_members() const {
  std::lock_guard lock(mutex_);
  return members_.size();
}

uint64_t MemoryBudget::excess() const {
  std::lock_guard lock(mutex_);
  return leased_ > limit_ ? leased_ - limit_ : 0;
}

int MemoryBudget::add_member(std::function<void()> called) {
  std::lock_guard lock(mutex_);
  members_.emplace(next_member_, std::move(called));
  return next_member_++;
}

void MemoryBudget::remove_member(int id) {
  std::lock_guard lock(mutex_);
  members_.erase(id);
}

void MemoryBudget::call_for_memory(int member) {
  std::lock_guard lock(mutex_);
  for (const auto& [id, called] : members_) {
    if (id != member) called();
  }
}

}  // namespace kvi
