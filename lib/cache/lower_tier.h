// Which slot of a tier below the device holds which node's page: the tier's side of the index.
//
// Slots are taken within a budget in bytes, over all groups; where it is used up, what is idle goes, leaf first.
// The bytes themselves are a TierStore's, moved by the engine's transfer worker.
//
// Not thread-safe: owned by CacheManager.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/evictor.h"
#include "cache/id_set.h"
#include "cache/prefix_tree.h"
#include "cache/tier_store.h"

namespace kvi {

class LowerTier {
 public:
  // Told of a node that has lost a copy, and may be removed where it has no other.
  using Dropped = std::function<void(NodeId)>;
  LowerTier(TierId id, std::shared_ptr<TierStore> store, uint64_t budget_bytes,
            std::vector<uint64_t> page_bytes, std::string_view policy, PrefixTree& tree,
            Dropped dropped);

  TierId id() const { return id_; }
  TierStore& store() const { return *store_; }

  // A slot for a copy of node's page, which is being written; kNowhere: no room even without what is idle. This, adopt
  // and pin may allocate, before they change anything but what is evicted; the others never do.
  SlotId begin_store(NodeId node, int group, const EvictionEntry& entry, Band band);
  // The write has ended. Without success the slot is free again.
  void end_store(int group, SlotId slot, bool ok);
  void begin_load(int group, SlotId slot);
  void end_load(int group, SlotId slot, bool ok);
  // A copy that was found there after a restart.
  void adopt(NodeId node, int group, SlotId slot, const EvictionEntry& entry);
  void drop(NodeId node, int group);  // the copy, once nothing moves it any more
  // Keeps the copy until as many unpins, for who holds the node. A copy that is lost, or comes later, changes nothing.
  void pin(NodeId node, int group);
  void unpin(NodeId node, int group);
  bool is_pinned(NodeId node, int group) const { return groups_[group].pins.contains(node); }
  bool is_readable(NodeId node, int group) const;  // there, and written
  // Slots that became free: the store is to forget each, before anything new is written there.
  struct FreedSlot {
    int group;
    SlotId slot;
  };
  std::optional<FreedSlot> next_forgotten() const;
  void forget(const FreedSlot& freed);  // it is being seen to
  int num_forgotten() const;

  uint64_t slot_bytes(int group) const { return groups_[group].slot_bytes; }
  uint64_t budget_bytes() const { return budget_bytes_; }
  uint64_t used_bytes() const;
  uint64_t pinned_bytes() const;
  uint64_t used_bytes(int group) const {
    return static_cast<uint64_t>(groups_[group].num_used) * slot_bytes(group);
  }
  uint64_t pinned_bytes(int group) const {
    return static_cast<uint64_t>(groups_[group].num_pinned) * slot_bytes(group);
  }
  int num_groups() const { return static_cast<int>(groups_.size()); }
  uint64_t num_evicted() const { return num_evicted_; }

  void check_invariants() const;

 private:
  struct Slot {
    NodeId node = kNoNode;  // kNoNode: free, or dropped while in flight
    int num_flights = 0;
    bool written = false;
  };
  struct Group {
    uint64_t slot_bytes;  // that a slot takes of the budget
    int num_slots;
    std::vector<Slot> slots;  // up to the highest ever used
    IdSet freed;
    IdSet forgotten;  // of these, what the store still holds
    std::unordered_map<NodeId, int> pins;
    Evictor evictor;
    int num_used = 0;    // slots that are not free
    int num_pinned = 0;  // of these, whose node is pinned
  };
  bool make_room(int group);
  bool evict_one(int group);
  void update_idle(int group, SlotId slot);
  void free_slot(int group, SlotId slot);
  void grow_to(Group& group, SlotId slot);

  const TierId id_;
  const std::shared_ptr<TierStore> store_;
  const uint64_t budget_bytes_;
  PrefixTree& tree_;
  const Dropped dropped_;
  std::vector<Group> groups_;
  uint64_t num_evicted_ = 0;
};

}  // namespace kvi
