// Least frequently used: the fewest hits since the entry was cached, and of those the least recent.
//
// One list for each number of hits, and a bit for each list that holds entries, so that the lowest is found
// in a few instructions. Counts end at 255; beyond it recency decides. Not thread-safe.
#pragma once

#include <array>

#include "cache/eviction_lists.h"

namespace kvi {

class LfuEviction final : public EvictionPolicy {
 public:
  void insert(EntryId id, const EvictionEntry& entry) override;
  void hit(EntryId id) override;
  void set_idle(EntryId id) override;
  void set_busy(EntryId id) override;
  void erase(EntryId id) override;
  EntryId victim() override;

 private:
  static constexpr int kMaxHits = 255;

  EvictionLists lists_{kMaxHits + 1};                   // by hits
  std::vector<uint8_t> hits_;                           // by EntryId
  std::array<uint64_t, (kMaxHits + 1) / 64> filled_{};  // a bit for each list: it may hold entries
};

}  // namespace kvi
