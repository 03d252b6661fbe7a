#include "cache/eviction_ghosts.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace kvi {

void EvictionGhosts::reserve(int num_entries) {
  constexpr size_t kGhostsPerEntry = 4;
  const size_t wanted = static_cast<size_t>(num_entries) * kGhostsPerEntry;
  if (wanted <= slots_.size()) return;
  std::vector<Slot> slots(std::bit_ceil(wanted));
  heads_ = std::vector<int32_t>(slots.size(), kNone);
  const std::vector<Slot> old = std::exchange(slots_, std::move(slots));
  const int oldest = std::exchange(next_slot_, 0);
  num_used_ = 0;
  for (size_t i = 0; i < old.size(); ++i) {
    const Slot& slot = old[(oldest + i) % old.size()];
    if (slot.filled) put(slot.key, slot.ghost);
  }
}

std::optional<EvictionGhost> EvictionGhosts::take(uint64_t key) {
  int32_t* link = slots_.empty() ? nullptr : link_to(key);
  if (link == nullptr) return std::nullopt;
  Slot& slot = slots_[*link];
  *link = slot.next;
  slot.filled = false;
  return slot.ghost;
}

void EvictionGhosts::put(uint64_t key, EvictionGhost ghost) {
  take(key);
  Slot& slot = slots_[next_slot_];
  if (slot.filled) take(slot.key);
  slot = {.key = key, .ghost = ghost, .next = head_of(key), .filled = true};
  head_of(key) = next_slot_;
  num_used_ = std::max(num_used_, ++next_slot_);
  if (next_slot_ == static_cast<int>(slots_.size())) next_slot_ = 0;
}

std::optional<EvictionGhost> EvictionGhosts::at(int slot) const {
  if (!slots_[slot].filled) return std::nullopt;
  return slots_[slot].ghost;
}

int32_t* EvictionGhosts::link_to(uint64_t key) {
  int32_t* link = &head_of(key);
  while (*link != kNone && slots_[*link].key != key) link = &slots_[*link].next;
  return *link == kNone ? nullptr : link;
}

}  // namespace kvi
