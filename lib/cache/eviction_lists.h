// Lists of entries, newest first, linked through arrays by EntryId: an entry is in one list or in none.
//
// Nothing is allocated once the arrays have grown to the highest id. Not thread-safe: part of a policy.
#pragma once

#include <vector>

#include "base/error.h"
#include "cache/eviction.h"

namespace kvi {

class EvictionLists {
 public:
  explicit EvictionLists(int num_lists) : ends_(num_lists) {}

  void add(EntryId id) {  // in no list yet
    KVI_CHECK(id >= 0);
    if (id >= static_cast<EntryId>(links_.size())) links_.resize(id + 1);
    links_[id] = Link();
  }

  void push_front(int list, EntryId id) {
    KVI_DCHECK(!contains(id));
    const EntryId next = ends_[list].front;
    links_[id] = {.newer = kNoEntry, .older = next, .list = list};
    (next == kNoEntry ? ends_[list].back : links_[next].newer) = id;
    ends_[list].front = id;
  }

  void remove(EntryId id) {  // requires: in a list
    KVI_DCHECK(contains(id));
    const Link link = links_[id];
    Ends& ends = ends_[link.list];
    (link.newer == kNoEntry ? ends.front : links_[link.newer].older) = link.older;
    (link.older == kNoEntry ? ends.back : links_[link.older].newer) = link.newer;
    links_[id].list = kNoList;
  }

  bool contains(EntryId id) const { return links_[id].list != kNoList; }
  EntryId back(int list) const { return ends_[list].back; }  // the oldest, or kNoEntry
  int num_lists() const { return static_cast<int>(ends_.size()); }

 private:
  static constexpr int kNoList = -1;
  struct Link {
    EntryId newer = kNoEntry, older = kNoEntry;
    int list = kNoList;
  };
  struct Ends {
    EntryId front = kNoEntry, back = kNoEntry;
  };

  std::vector<Link> links_;  // by EntryId
  std::vector<Ends> ends_;   // by list
};

}  // namespace kvi
