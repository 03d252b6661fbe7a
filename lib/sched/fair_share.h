// How much each tenant was served: the one that got least goes first.
//
// Counts tokens, as the virtual token counter of Sheng et al., Fairness in Serving Large Language Models (2024): a
// tenant that comes back after a pause starts at the least count of those who are there, so that it can neither
// save up for a burst nor be made to wait for its past.
//
// Not thread-safe: owned by the Scheduler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace kvi {

class FairShare {
 public:
  // A request of the tenant waits or runs, from here to leave.
  void join(int tenant) {
    Count& count = counts_[tenant];
    if (count.num_requests++ > 0) return;
    uint64_t least = UINT64_MAX;
    for (const auto& [other, c] : counts_) {
      if (other != tenant && c.num_requests > 0) least = std::min(least, c.tokens);
    }
    if (least != UINT64_MAX) count.tokens = std::max(count.tokens, least);
  }
  void leave(int tenant) {
    const auto found = counts_.find(tenant);
    if (--found->second.num_requests > 0) return;
    // Without anybody to compare with, a count says nothing; and of a great many, those who left are forgotten.
    if (counts_.size() == 1) counts_.erase(found);
    if (counts_.size() > kMostCounts) {
      std::erase_if(counts_, [](const auto& entry) { return entry.second.num_requests == 0; });
    }
  }
  void serve(int tenant, int num_tokens) {
    counts_[tenant].tokens += static_cast<uint64_t>(num_tokens);
  }
  void take_back(int tenant, int num_tokens) {
    counts_[tenant].tokens -= static_cast<uint64_t>(num_tokens);
  }
  uint64_t served(int tenant) const {
    const auto found = counts_.find(tenant);
    return found == counts_.end() ? 0 : found->second.tokens;
  }

 private:
  struct Count {
    uint64_t tokens = 0;
    int num_requests = 0;
  };
  static constexpr size_t kMostCounts = 4096;
  std::unordered_map<int, Count> counts_;
};

}  // namespace kvi
