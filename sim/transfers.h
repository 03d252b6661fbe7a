// The transfer worker without a thread: moves are made and reported when the simulation says so, in any order that
// the real one could show the core, and a few worse.
//
// Not thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "cache/cache_manager.h"
#include "sim/draws.h"
#include "sim/trace.h"

namespace kvi::sim {

class Transfers {
 public:
  Transfers(CacheManager& cache, std::shared_ptr<TierStore> host, std::shared_ptr<TierStore> disk,
            Trace& trace)
      : cache_(cache), stores_{std::move(host), std::move(disk)}, trace_(trace) {}

  void dispatch();                     // takes what the core has planned
  void work(int count, Draws& draws);  // makes a move, or reports one, `count` times
  bool write_to_disk(Draws& draws);    // one that waits, without reporting it; false: there is none
  size_t num_moves() const { return waiting_.size() + made_.size(); }

  // Faults.
  bool reorders_slots = false;  // also the moves of one slot
  int num_to_fail = 0;

  uint64_t num_failed = 0;  // that the core was told of

 private:
  struct Made {
    uint64_t id;
    bool ok;
  };
  bool make(const PageMove& move);
  bool must_wait(size_t index) const;

  CacheManager& cache_;
  const std::shared_ptr<TierStore> stores_[kNumLowerTiers];
  Trace& trace_;
  std::vector<PageMove> waiting_;
  std::vector<Made> made_;
};

}  // namespace kvi::sim
