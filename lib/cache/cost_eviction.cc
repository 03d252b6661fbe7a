#include "cache/cost_eviction.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cache/recompute_cost.h"

namespace kvi {
namespace {

constexpr int kMaxHits = 255;
constexpr int kNumClasses = 2 * kNumHitClasses;  // by hits, then the same for ends of prompts
constexpr int kLearnEvery = 32;  // accesses; each time one class, so that an access costs little
constexpr double kMemory = 16;   // accesses an entry until an observation has faded to 1/e
constexpr double kPriorPrompts = 32;  // how many prompts' hits the prior counts as

std::vector<double> prior_weights() {
  std::vector<double> weights;
  for (int i = 0; i < kNumClasses; ++i) {
    weights.push_back((typical_hits(i % kNumHitClasses) + 1) / 2.0);
  }
  return weights;
}

}  // namespace

CostEviction::CostEviction() : lists_(kNumClasses), rates_(prior_weights()) {}

void CostEviction::insert(EntryId id, const EvictionEntry& entry) {
  lists_.add(id);
  if (id >= static_cast<EntryId>(entries_.size())) entries_.resize(id + 1);
  ghosts_.reserve(num_entries_ + 1);
  most_entries_ = std::max(most_entries_, ++num_entries_);
  last_idle_token_ = -1;
  pass_time();
  int hits = 0;
  if (const auto ghost = ghosts_.take(entry.key)) {
    rates_.add_hit(ghost->group, now_ - ghost->used);
    hits = std::min(ghost->hits + 1, kMaxHits);
  }
  entries_[id] = {.key = entry.key,
                  .cost = recompute_cost_per_byte(entry),
                  .used = now_,
                  .first_token = entry.first_token,
                  .hits = static_cast<uint8_t>(hits)};
}

void CostEviction::hit(EntryId id) {
  Entry& entry = entries_[id];
  last_idle_token_ = -1;
  const bool idle = lists_.contains(id);
  if (idle) rates_.add_hit(entry.reuse_class, now_ - entry.used);
  pass_time();
  if (entry.hits < kMaxHits) ++entry.hits;
  if (!idle) return;
  const bool end = entry.reuse_class >= kNumHitClasses;
  lists_.remove(id);
  entry.used = now_;
  entry.reuse_class = hit_class(entry.hits) + (end ? kNumHitClasses : 0);
  lists_.push_front(entry.reuse_class, id);
}

void CostEviction::set_idle(EntryId id) {
  Entry& entry = entries_[id];
  const bool end = entry.first_token >= last_idle_token_;  // a path goes on upwards only
  if (end) ++num_paths_;
  last_idle_token_ = entry.first_token;
  entry.used = now_;
  entry.reuse_class = hit_class(entry.hits) + (end ? kNumHitClasses : 0);
  lists_.push_front(entry.reuse_class, id);
}

void CostEviction::set_busy(EntryId id) {
  last_idle_token_ = -1;
  lists_.remove(id);
}

void CostEviction::erase(EntryId id) {
  const Entry& entry = entries_[id];
  if (lists_.contains(id)) {
    lists_.remove(id);
    ghosts_.put(entry.key, {.used = entry.used, .hits = entry.hits, .group = entry.reuse_class});
  }
  --num_entries_;
}

EntryId CostEviction::victim() {
  EntryId chosen = kNoEntry;
  float lowest = std::numeric_limits<float>::infinity();
  for (int list = 0; list < kNumClasses; ++list) {
    const EntryId oldest = lists_.back(list);
    if (oldest == kNoEntry) continue;
    const Entry& entry = entries_[oldest];
    const float value = rates_.value(list, now_ - entry.used) * entry.cost;
    if (chosen != kNoEntry && value >= lowest) continue;
    chosen = oldest;
    lowest = value;
  }
  return chosen;
}

// One access: time passes for all; one entry and one ghost stand for all of them.
void CostEviction::pass_time() {
  ++now_;
  ++num_accesses_;
  const int entry_index = sample(static_cast<int>(entries_.size()));
  if (lists_.contains(entry_index)) {
    const Entry& entry = entries_[entry_index];
    rates_.add_time(entry.reuse_class, now_ - entry.used, static_cast<double>(entries_.size()));
  }
  if (ghosts_.num_slots() > 0) {
    if (const auto ghost = ghosts_.at(sample(ghosts_.num_slots()))) {
      rates_.add_time(ghost->group, now_ - ghost->used, static_cast<double>(ghosts_.num_slots()));
    }
  }
  if (now_ % kLearnEvery != 0) return;
  const double passed = static_cast<double>(kLearnEvery) * kNumClasses;
  const double pages_per_prompt = num_accesses_ / std::max(num_paths_, 1.0);
  rates_.learn_next(std::exp(-passed / (kMemory * most_entries_)),
                    kPriorPrompts * pages_per_prompt);
  const double fade = std::exp(-kLearnEvery / (kMemory * most_entries_));
  num_accesses_ *= fade;
  num_paths_ *= fade;
}

// Multiples of the golden ratio spread evenly, and follow no order in which entries were made.
int CostEviction::sample(int count) const {
  return static_cast<int>(uint64_t{now_ * 0x9e3779b9u} * static_cast<uint64_t>(count) >> 32);
}

}  // namespace kvi
