// Remembers entries that were evicted, by key: how often they were hit and when they were last used.
//
// This is the admission filter of the policies that use it: what comes back after its eviction is known to be no
// scan, and takes up its count again. A ring, in which a new ghost replaces the one evicted first: so it ages,
// and of a path the last pages are forgotten first, as they were evicted first. Its memory is bounded: 4 to 8
// ghosts of 28 bytes for each entry ever cached at once. Not thread-safe: part of a policy.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace kvi {

struct EvictionGhost {
  uint32_t used;  // when it was last used, in the policy's time
  uint8_t hits;
  uint8_t group;  // the policy's
};

class EvictionGhosts {
 public:
  void reserve(int num_entries);                    // as many are cached now
  std::optional<EvictionGhost> take(uint64_t key);  // forgets it
  void put(uint64_t key, EvictionGhost ghost);      // requires: reserve of at least 1

  int num_slots() const { return num_used_; }  // those that were ever filled
  std::optional<EvictionGhost> at(int slot) const;

 private:
  static constexpr int32_t kNone = -1;

  struct Slot {
    uint64_t key = 0;
    EvictionGhost ghost = {};
    int32_t next = kNone;  // with the same hash
    bool filled = false;
  };

  int32_t& head_of(uint64_t key) { return heads_[key & (heads_.size() - 1)]; }
  int32_t* link_to(uint64_t key);  // the link that points to its slot, or null

  std::vector<Slot> slots_;     // a power of two
  std::vector<int32_t> heads_;  // by the low bits of the key; as many
  int next_slot_ = 0, num_used_ = 0;
};

}  // namespace kvi
