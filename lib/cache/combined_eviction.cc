#include "cache/combined_eviction.h"

#include <algorithm>
#include <limits>

#include "cache/recompute_cost.h"

namespace kvi {
namespace {

constexpr int kMaxHits = 255;

}  // namespace

void CombinedEviction::insert(EntryId id, const EvictionEntry& entry) {
  lists_.add(id);
  if (id >= static_cast<EntryId>(entries_.size())) entries_.resize(id + 1);
  ghosts_.reserve(num_entries_ + 1);
  ++num_entries_;
  const auto ghost = ghosts_.take(entry.key);
  entries_[id] = {
      .key = entry.key,
      .cost = recompute_cost_per_byte(entry),
      .used = ++now_,
      .hits = ghost ? static_cast<uint8_t>(std::min(ghost->hits + 1, kMaxHits)) : uint8_t{0}};
}

void CombinedEviction::hit(EntryId id) {
  Entry& entry = entries_[id];
  ++now_;
  const bool idle = lists_.contains(id);
  if (idle) lists_.remove(id);
  if (entry.hits < kMaxHits) ++entry.hits;
  if (idle) set_idle(id);
}

void CombinedEviction::set_idle(EntryId id) {
  entries_[id].used = now_;
  lists_.push_front(hit_class(entries_[id].hits), id);
}

void CombinedEviction::set_busy(EntryId id) { lists_.remove(id); }

void CombinedEviction::erase(EntryId id) {
  if (lists_.contains(id)) lists_.remove(id);
  const Entry& entry = entries_[id];
  ghosts_.put(entry.key, {.used = entry.used, .hits = entry.hits, .group = 0});
  --num_entries_;
}

EntryId CombinedEviction::victim() {
  EntryId chosen = kNoEntry;
  float lowest = std::numeric_limits<float>::infinity();
  for (int list = 0; list < kNumHitClasses; ++list) {
    const EntryId oldest = lists_.back(list);
    if (oldest == kNoEntry) continue;
    const Entry& entry = entries_[oldest];
    const float age = static_cast<float>(now_ - entry.used) + 1;
    const float value = static_cast<float>(entry.hits + 1) / age * entry.cost;
    if (chosen != kNoEntry && value >= lowest) continue;
    chosen = oldest;
    lowest = value;
  }
  return chosen;
}

}  // namespace kvi
