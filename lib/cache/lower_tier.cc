#include "cache/lower_tier.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

LowerTier::LowerTier(TierId id, std::shared_ptr<TierStore> store, uint64_t budget_bytes,
                     std::vector<uint64_t> page_bytes, std::string_view policy, PrefixTree& tree,
                     Dropped dropped)
    : id_(id),
      store_(std::move(store)),
      budget_bytes_(budget_bytes),
      tree_(tree),
      dropped_(std::move(dropped)) {
  for (size_t g = 0; g < page_bytes.size(); ++g) {
    // What a slot really takes of the budget, with what the store keeps beside the page.
    const int num_slots = store_->num_slots(static_cast<int>(g));
    const uint64_t slot_bytes = num_slots == 0
                                    ? page_bytes[g]
                                    : std::max(page_bytes[g],
                                               budget_bytes / static_cast<uint64_t>(num_slots));
    groups_.push_back({slot_bytes, num_slots, {}, {}, {}, {}, Evictor(policy), 0, 0});
  }
}

SlotId LowerTier::begin_store(NodeId node, int group, const EvictionEntry& entry, Band band) {
  KVI_CHECK(tree_.place(node, id_, group) == PrefixTree::kNowhere);
  if (!make_room(group)) return PrefixTree::kNowhere;
  Group& g = groups_[group];
  if (g.freed.empty()) grow_to(g, static_cast<SlotId>(g.slots.size()));
  g.evictor.insert(node, entry, band, tree_.scope(node));
  const SlotId slot = g.freed.lowest();
  g.freed.erase(slot);
  g.slots[slot] = {.node = node, .num_flights = 1};
  ++g.num_used;
  tree_.set_place(node, id_, group, slot);
  if (is_pinned(node, group)) ++g.num_pinned;
  return slot;
}

void LowerTier::adopt(NodeId node, int group, SlotId slot, const EvictionEntry& entry) {
  Group& g = groups_[group];
  grow_to(g, slot);
  g.evictor.insert(node, entry, Band::normal, tree_.scope(node));
  g.freed.erase(slot);
  g.slots[slot] = {.node = node, .written = true};
  ++g.num_used;
  tree_.set_place(node, id_, group, slot);
  if (is_pinned(node, group)) ++g.num_pinned;
  update_idle(group, slot);
}

void LowerTier::grow_to(Group& group, SlotId slot) {
  const SlotId num_known = static_cast<SlotId>(group.slots.size());
  if (slot < num_known) return;
  group.freed.grow_to(slot + 1);
  group.forgotten.grow_to(slot + 1);
  group.slots.resize(static_cast<size_t>(slot) + 1);
  for (SlotId added = num_known; added <= slot; ++added) group.freed.insert(added);
}

uint64_t LowerTier::used_bytes() const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) bytes += used_bytes(g);
  return bytes;
}

uint64_t LowerTier::pinned_bytes() const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) bytes += pinned_bytes(g);
  return bytes;
}

bool LowerTier::make_room(int group) {
  Group& g = groups_[group];
  while (used_bytes() + g.slot_bytes > budget_bytes_ ||
         (g.freed.empty() && static_cast<int>(g.slots.size()) >= g.num_slots)) {
    bool evicted = evict_one(group);
    for (int other = 0; !evicted && other < static_cast<int>(groups_.size()); ++other) {
      evicted = evict_one(other);
    }
    if (!evicted) return false;
  }
  return true;
}

bool LowerTier::evict_one(int group) {
  NodeId node = groups_[group].evictor.victim();
  if (node == kNoNode) return false;
  // Leaf first. Below an idle copy all are idle: who uses a page uses all before it.
  while (tree_.num_children_in(node, id_, group) > 0) {
    NodeId child = tree_.first_child(node);
    while (tree_.place(child, id_, group) == PrefixTree::kNowhere)
      child = tree_.next_sibling(child);
    const Slot& slot = groups_[group].slots[tree_.place(child, id_, group)];
    if (slot.num_flights > 0 || is_pinned(child, group))
      break;  // a copy that is only now being made
    node = child;
  }
  ++num_evicted_;
  drop(node, group);
  return true;
}

void LowerTier::drop(NodeId node, int group) {
  Group& g = groups_[group];
  const SlotId slot = tree_.place(node, id_, group);
  g.evictor.erase(node);
  tree_.set_place(node, id_, group, PrefixTree::kNowhere);
  Slot& s = g.slots[slot];
  if (is_pinned(node, group)) --g.num_pinned;
  s.node = kNoNode;
  if (s.num_flights == 0) free_slot(group, slot);
  dropped_(node);
}

void LowerTier::free_slot(int group, SlotId slot) {
  groups_[group].slots[slot] = {};
  groups_[group].freed.insert(slot);
  --groups_[group].num_used;
  groups_[group].forgotten.insert(slot);
}

std::optional<LowerTier::FreedSlot> LowerTier::next_forgotten() const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].forgotten.empty())
      return FreedSlot{static_cast<int>(g), groups_[g].forgotten.lowest()};
  }
  return std::nullopt;
}

void LowerTier::forget(const FreedSlot& freed) { groups_[freed.group].forgotten.erase(freed.slot); }

int LowerTier::num_forgotten() const {
  int count = 0;
  for (const Group& group : groups_) count += group.forgotten.size();
  return count;
}

void LowerTier::end_store(int group, SlotId slot, bool ok) {
  Slot& s = groups_[group].slots[slot];
  --s.num_flights;
  if (s.node == kNoNode) {
    if (s.num_flights == 0) free_slot(group, slot);
  } else if (ok) {
    s.written = true;
    update_idle(group, slot);
  } else {
    drop(s.node, group);
  }
}

void LowerTier::begin_load(int group, SlotId slot) {
  ++groups_[group].slots[slot].num_flights;
  update_idle(group, slot);
}

void LowerTier::end_load(int group, SlotId slot, bool ok) { end_store(group, slot, ok); }

void LowerTier::pin(NodeId node, int group) {
  Group& g = groups_[group];
  const SlotId slot = tree_.place(node, id_, group);
  if (g.pins[node]++ > 0 || slot == PrefixTree::kNowhere) return;
  ++g.num_pinned;
  update_idle(group, slot);
}

void LowerTier::unpin(NodeId node, int group) {
  Group& g = groups_[group];
  const auto pins = g.pins.find(node);
  KVI_CHECK(pins != g.pins.end());
  if (--pins->second > 0) return;
  g.pins.erase(pins);
  const SlotId slot = tree_.place(node, id_, group);
  if (slot == PrefixTree::kNowhere) return;
  --g.num_pinned;
  update_idle(group, slot);
}

bool LowerTier::is_readable(NodeId node, int group) const {
  const SlotId slot = tree_.place(node, id_, group);
  return slot != PrefixTree::kNowhere && groups_[group].slots[slot].written;
}

void LowerTier::update_idle(int group, SlotId slot) {
  Group& g = groups_[group];
  const Slot& s = g.slots[slot];
  if (s.node == kNoNode) return;
  if (s.num_flights == 0 && !is_pinned(s.node, group)) {
    g.evictor.set_idle(s.node);
  } else {
    g.evictor.set_busy(s.node);
  }
}

void LowerTier::check_invariants() const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    int num_used = 0, num_pinned = 0;
    for (SlotId slot = 0; slot < static_cast<SlotId>(groups_[g].slots.size()); ++slot) {
      const Slot& s = groups_[g].slots[slot];
      const bool is_free = s.node == kNoNode && s.num_flights == 0;
      KVI_CHECK(is_free == groups_[g].freed.contains(slot));
      if (!is_free) ++num_used;
      if (s.node != kNoNode) {
        if (groups_[g].pins.contains(s.node)) ++num_pinned;
        KVI_CHECK(tree_.place(s.node, id_, static_cast<int>(g)) == slot);
      }
    }
    KVI_CHECK(num_used == groups_[g].num_used && num_pinned == groups_[g].num_pinned);
  }
  KVI_CHECK(used_bytes() <= budget_bytes_);
}

}  // namespace kvi
