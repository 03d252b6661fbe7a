#include "base/thread_pool.h"

#include <pthread.h>

#include "base/error.h"
#include "base/os_futex.h"

namespace kvi {
namespace {

// Pauses, together 20-40 microseconds. Between two loops of one decode step lie a few microseconds of
// serial work; a thread that slept through them would pay twice that to wake. Longer spinning robs us
// more than it gives: the kernel counts it as our share of a core, and takes that from real work beside
// busy threads of others (medians: 2000 pauses keep 55 % of the decode speed beside one, 500 keep 64 %;
// tests/bench/foreign_threads.cc).
constexpr int kSpins = 500;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  KVI_CHECK(num_threads >= 1);
  try {
    for (int thread = 1; thread < num_threads; ++thread) {
      workers_.emplace_back([this, thread] { work(thread); });
      pthread_setname_np(workers_.back().native_handle(), "kvi-worker");
    }
  } catch (...) {  // the machine gives us fewer threads than asked for: run with those
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  epoch_.fetch_add(1);
  futex_wake_all(epoch_);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_loop(const Loop& loop) {
  KVI_CHECK(loop.num_pieces >= 0 && loop.num_pieces < int64_t{1} << 32);
  if (workers_.empty() || loop.num_pieces <= 1) {
    for (int64_t piece = 0; piece < loop.num_pieces; ++piece) loop.call(loop.body, piece, 0);
    return;
  }
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  loop_ = loop;
  unfinished_.store(static_cast<uint32_t>(loop.num_pieces), std::memory_order_relaxed);
  tickets_.store(uint64_t{epoch} << 32 | static_cast<uint64_t>(loop.num_pieces),
                 std::memory_order_release);
  epoch_.store(epoch);  // sequentially consistent, as is workers_asleep_: no wake-up is lost
  if (workers_asleep_.load() > 0) futex_wake_all(epoch_);

  run_pieces(epoch, 0);
  for (int spin = 0;; ++spin) {
    uint32_t unfinished = unfinished_.load(std::memory_order_acquire);
    if (unfinished == 0) return;
    if (spin < kSpins) {
      pause_cpu();
      continue;
    }
    caller_asleep_.store(true);
    unfinished = unfinished_.load();
    if (unfinished != 0) futex_wait(unfinished_, unfinished);
    caller_asleep_.store(false);
  }
}

void ThreadPool::run_pieces(uint32_t epoch, int thread) {
  uint64_t tickets = tickets_.load(std::memory_order_acquire);
  for (;;) {
    const uint32_t unclaimed = static_cast<uint32_t>(tickets);
    if (tickets >> 32 != epoch || unclaimed == 0) return;
    if (!tickets_.compare_exchange_weak(tickets, tickets - 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
      continue;
    }
    loop_.call(loop_.body, loop_.num_pieces - unclaimed, thread);
    if (unfinished_.fetch_sub(1) == 1 && thread != 0 && caller_asleep_.load()) {
      futex_wake_all(unfinished_);
    }
    tickets = tickets_.load(std::memory_order_acquire);
  }
}

uint32_t ThreadPool::wait_for_epoch_after(uint32_t seen) {
  for (int spin = 0; spin < kSpins; ++spin) {
    uint32_t epoch = epoch_.load(std::memory_order_acquire);
    if (epoch != seen) return epoch;
    pause_cpu();
  }
  workers_asleep_.fetch_add(1);
  while (epoch_.load() == seen) futex_wait(epoch_, seen);
  workers_asleep_.fetch_sub(1);
  return epoch_.load(std::memory_order_acquire);
}

void ThreadPool::work(int thread) {
  uint32_t epoch = 0;
  while (!stopping_.load(std::memory_order_acquire)) {
    run_pieces(epoch, thread);
    epoch = wait_for_epoch_after(epoch);
  }
}

}  // namespace kvi
