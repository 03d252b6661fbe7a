// A team of threads that runs one parallel loop at a time.
//
// The caller takes part in the loop. Work is claimed in small pieces, so a thread that the kernel
// preempts delays a loop by one piece. Between loops the workers spin briefly, then sleep on a futex.
//
// Not thread-safe: one thread calls run() at a time. No exception may leave the body.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace kvi {

class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);  // the caller counts as one of them
  ~ThreadPool();                         // joins the workers
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(piece, thread) for every piece in [0, num_pieces < 2^32), each once, in no particular order;
  // thread is in [0, num_threads()) and no two calls with the same thread overlap. Returns when all are done.
  template <typename Body>
  void run(int64_t num_pieces, const Body& body) {
    run_loop({num_pieces, &body, [](const void* context, int64_t piece, int thread) {
                (*static_cast<const Body*>(context))(piece, thread);
              }});
  }

 private:
  struct Loop {
    int64_t num_pieces;
    const void* body;
    void (*call)(const void* body, int64_t piece, int thread);
  };

  void run_loop(const Loop& loop);
  void work(int thread);
  void run_pieces(uint32_t epoch, int thread);
  uint32_t wait_for_epoch_after(uint32_t seen);

  // Pieces are claimed from tickets_: epoch << 32 | pieces not yet claimed. A claim names its epoch, so
  // a worker that wakes late takes nothing of a later loop; and loop_ is read only under a claim, since
  // its loop cannot end before the claimed piece has.
  Loop loop_ = {};
  alignas(64) std::atomic<uint64_t> tickets_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // pieces; the caller sleeps on it
  alignas(64) std::atomic<uint32_t> epoch_{0};       // workers sleep on it
  std::atomic<int> workers_asleep_{0};
  std::atomic<bool> caller_asleep_{false};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace kvi
