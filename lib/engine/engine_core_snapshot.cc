// EngineCore's part in snapshots: pages that no session holds, for as long as their bytes are read or filled.
#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "engine/engine_core.h"

namespace kvi {
namespace {

// For pages on their way from a lower tier; a slower one costs the K and V, not the snapshot.
constexpr std::chrono::seconds kMostLoadWait(30);

}  // namespace

std::byte* EngineCore::page_address(int group, PageId page) const {
  const KvGroupPages& pages = placement_.groups[group];
  return pages.pages + static_cast<uint64_t>(page) * pages.layout->page_bytes;
}

void EngineCore::finish_copies_unlocked(std::unique_lock<std::mutex>& lock,
                                        const std::vector<PageCopy>& copies) {
  if (copies.empty()) return;
  lock.unlock();
  make_copies(copies);
  lock.lock();
  cache_->finish_copies(copies);
}

void EngineCore::pin_pages(const SequenceState& sequence, SequencePages& pin) {
  std::unique_lock lock(mutex_);
  const auto deadline = std::chrono::steady_clock::now() + kMostLoadWait;
  // False: it takes too long, and nothing is held.
  const auto wait_until_ready = [&] {
    work_.notify_all();  // to dispatch what is to be loaded
    while (!cache_->is_ready(pin)) {
      const bool is_late = work_.wait_until(lock, deadline) == std::cv_status::timeout;
      if (!is_stopped() && !is_late) continue;
      cache_->release(pin);
      return false;
    }
    return true;
  };
  pin = cache_->fork(sequence.pages);
  if (!wait_until_ready()) return;
  const int num_tokens = static_cast<int>(sequence.tokens.size());
  if (pin.num_tokens + 1 >= num_tokens) return;
  std::vector<PageCopy> copies;
  cache_->attach(pin, sequence.tokens, num_tokens, copies);
  finish_copies_unlocked(lock, copies);
  wait_until_ready();
}

void EngineCore::reserve_restored(const SessionOptions& options, int num_tokens,
                                  SequencePages& pages) {
  std::unique_lock lock(mutex_);
  check_open();
  pages = cache_->make_sequence(cache_->prefixes().scope_of_tenant(options.tenant));
  pages.is_indexed = false;
  std::vector<PageCopy> copies;
  while (!cache_->reserve_restored(pages, num_tokens, copies)) {
    if (reclaim_idle_session()) continue;
    const uint64_t needed = cache_->restored_bytes(num_tokens), budget = cache_->budget_bytes();
    const uint64_t available = budget - std::min(budget, cache_->used_bytes());
    Error error(
        Status::EXHAUSTED,
        concat("the KV budget of ", budget, " bytes has no room for the snapshot: its ", num_tokens,
               " tokens need ", needed, " bytes, ", available,
               " are free; release pins, wait for running requests, or raise kv_budget_bytes"));
    error.amounts(needed, available);
    if (needed <= budget) error.retryable();
    throw error;
  }
  finish_copies_unlocked(lock, copies);
  show_gauges();
}

void EngineCore::release_pages(SequencePages& pages) {
  if (pages.tables.empty()) return;
  std::lock_guard lock(mutex_);
  cache_->release(pages);
  tell_change();
}

std::shared_ptr<SequenceState> EngineCore::adopt_sequence(const SessionOptions& options,
                                                          std::vector<TokenId> tokens,
                                                          SequencePages& pages, int kv_len) {
  SessionOptions own = options;
  if (kv_len > 0) own.caches = false;
  std::shared_ptr<SequenceState> sequence = create_sequence(own);
  std::lock_guard lock(mutex_);
  sequence->tokens = std::move(tokens);
  sequence->num_tokens.store(static_cast<uint32_t>(sequence->tokens.size()));
  sequence->last_used = ++num_requests_;  // not the first to give its pages up
  if (kv_len > 0) {
    cache_->commit(pages, kv_len);
    cache_->truncate(pages, kv_len);  // gives back what was reserved beyond it
    pages.reads_shared = sequence->pages.reads_shared;
    sequence->pages = std::exchange(pages, {});
    show_gauges();
  }
  return sequence;
}

}  // namespace kvi
