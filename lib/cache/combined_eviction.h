// Recency, frequency and cost in one formula: evicts the lowest (hits + 1) / age x recompute cost / bytes.
//
// Entries are kept in a list for each class of hits, newest first. The lowest value of a class is near the end
// of its list, so the ends are compared: a decision takes eight steps, whatever the size. An entry of a
// path is hit no more often and used no later than the one before it, so that victims are leaves, but for the
// difference in cost. Admission: what was never seen before has no hits, and what comes back after its
// eviction takes up its count (EvictionGhosts), so that a scan displaces itself first.
//
// Age is counted in accesses to pages. Not thread-safe.
#pragma once

#include "cache/eviction_ghosts.h"
#include "cache/eviction_lists.h"
#include "cache/hit_class.h"

namespace kvi {

class CombinedEviction final : public EvictionPolicy {
 public:
  void insert(EntryId id, const EvictionEntry& entry) override;
  void hit(EntryId id) override;
  void set_idle(EntryId id) override;
  void set_busy(EntryId id) override;
  void erase(EntryId id) override;
  EntryId victim() override;

 private:
  struct Entry {
    uint64_t key = 0;
    float cost = 0;     // recompute_cost_per_byte
    uint32_t used = 0;  // when it was inserted or last became idle
    uint8_t hits = 0;
  };

  EvictionLists lists_{kNumHitClasses};  // of idle entries
  std::vector<Entry> entries_;           // by EntryId
  EvictionGhosts ghosts_;
  uint32_t now_ = 0;  // accesses to pages; may wrap: what is 2^32 old then looks young, once
  int num_entries_ = 0;
};

}  // namespace kvi
