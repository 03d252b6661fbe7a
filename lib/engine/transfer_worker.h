// Makes the page moves that the cache has planned, on a thread of its own.
//
// It knows addresses and stores, and no policy: a move is made in the order it came, and reported. What moves is
// in flight in the cache, so nobody else touches it.
//
// Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "cache/page_move.h"

namespace kvi {

enum class MoveOutcome : uint8_t { made, refused_by_store, refused_by_device };

class TransferWorker {
 public:
  struct GroupPages {
    std::byte* address;
    uint64_t page_bytes;
  };
  // Called on the worker's thread. seconds: what the move took.
  using Completed = std::function<void(const PageMove& move, MoveOutcome outcome, double seconds)>;
  // backend: whose pages they are; outlives the worker. stores: [lower tier]; nullptr where there is none.
  TransferWorker(Backend& backend, std::vector<GroupPages> groups,
                 std::vector<std::shared_ptr<TierStore>> stores, Completed completed);
  ~TransferWorker();  // finishes the move it is at, and leaves the others

  void push(std::list<PageMove> moves);  // allocates nothing

 private:
  void run();
  void make_all(const std::list<PageMove>& moves, std::span<MoveOutcome> outcomes);
  std::span<std::byte> page_of(const PageMove& move) const;
  MoveOutcome make(const PageMove& move);
  MoveOutcome make_staged(const PageMove& move, std::span<std::byte> page);

  Backend& backend_;
  const std::vector<GroupPages> groups_;
  const std::vector<std::shared_ptr<TierStore>> stores_;
  const Completed completed_;
  std::mutex mutex_;
  std::condition_variable pushed_;
  std::list<PageMove> moves_;
  bool stopping_ = false;
  std::unique_ptr<MemoryRange> staging_;  // one page; nullptr where pages are host memory
  std::thread thread_;
};

}  // namespace kvi
