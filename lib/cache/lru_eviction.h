// Least recently used, exactly: one list, in the order in which the entries were last put to use or out of it.
//
// The pages of a path become idle deepest first, so that the first page of a prompt is the newest of them
// and the list's end is always a leaf. Not thread-safe.
#pragma once

#include "cache/eviction_lists.h"

namespace kvi {

class LruEviction final : public EvictionPolicy {
 public:
  void insert(EntryId id, const EvictionEntry&) override { lists_.add(id); }
  void hit(EntryId id) override {
    if (!lists_.contains(id)) return;  // in use: it becomes the newest when it is idle
    lists_.remove(id);
    lists_.push_front(0, id);
  }
  void set_idle(EntryId id) override { lists_.push_front(0, id); }
  void set_busy(EntryId id) override { lists_.remove(id); }
  void erase(EntryId id) override {
    if (lists_.contains(id)) lists_.remove(id);
  }
  EntryId victim() override { return lists_.back(0); }

 private:
  EvictionLists lists_{1};
};

}  // namespace kvi
