// Evicts the lowest learned reuse rate x recompute cost / bytes.
//
// Entries are in classes, by their hits and by whether they were the last page of a prompt when last used (the
// end of a question is rarely asked again). Each class has a list, newest first, and learned rates of reuse by
// age (ReuseRates), so a decision compares the ends of sixteen lists, whatever the size. Evicted entries stay
// known for a while (EvictionGhosts): their return counts as a hit that was missed, at an age that nothing
// cached reaches, and they take up their number of hits again. So a scan is learned to be worthless: this is
// the admission filter. The time that pages spend at each age is sampled: every access looks at one entry
// and one ghost.
//
// Every prompt's pages are hit together: what the prior counts as is stated in prompts.
//
// Age is counted in accesses to pages. Not thread-safe.
#pragma once

#include "cache/eviction_ghosts.h"
#include "cache/eviction_lists.h"
#include "cache/hit_class.h"
#include "cache/reuse_rates.h"

namespace kvi {

class CostEviction final : public EvictionPolicy {
 public:
  CostEviction();

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
    int first_token = 0;
    uint8_t hits = 0;
    uint8_t reuse_class = 0;  // while idle
  };

  void pass_time();
  int sample(int count) const;  // of [0, count), by the time

  EvictionLists lists_;         // by class, of idle entries
  std::vector<Entry> entries_;  // by EntryId
  EvictionGhosts ghosts_;
  ReuseRates rates_;
  uint32_t now_ = 0;  // accesses to pages; may wrap: what is 2^32 old then looks young, once
  int num_entries_ = 0, most_entries_ = 0;
  int last_idle_token_ =
      -1;  // of the path that is becoming idle; -1 where something else came between
  double num_accesses_ = 0, num_paths_ = 0;  // fading; their ratio is the pages of a prompt
};

}  // namespace kvi
