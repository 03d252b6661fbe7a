#include "cache/lfu_eviction.h"

#include <bit>

namespace kvi {

void LfuEviction::insert(EntryId id, const EvictionEntry&) {
  lists_.add(id);
  if (id >= static_cast<EntryId>(hits_.size())) hits_.resize(id + 1);
  hits_[id] = 0;
}

void LfuEviction::hit(EntryId id) {
  const bool idle = lists_.contains(id);
  if (idle) set_busy(id);
  if (hits_[id] < kMaxHits) ++hits_[id];
  if (idle) set_idle(id);
}

void LfuEviction::set_idle(EntryId id) {
  lists_.push_front(hits_[id], id);
  filled_[hits_[id] / 64] |= uint64_t{1} << hits_[id] % 64;
}

void LfuEviction::set_busy(EntryId id) {
  const int list = hits_[id];
  lists_.remove(id);
  if (lists_.back(list) == kNoEntry) filled_[list / 64] &= ~(uint64_t{1} << list % 64);
}

void LfuEviction::erase(EntryId id) {
  if (lists_.contains(id)) set_busy(id);
}

EntryId LfuEviction::victim() {
  for (int word = 0; word < static_cast<int>(filled_.size()); ++word) {
    if (filled_[word] != 0) return lists_.back(word * 64 + std::countr_zero(filled_[word]));
  }
  return kNoEntry;
}

}  // namespace kvi
