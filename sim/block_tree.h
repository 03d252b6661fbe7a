// The cached blocks of a replayed trace, as a tree of prefixes under an eviction policy.
//
// A block is found by its hash id alone, since that names the whole prompt up to it. Where a trace breaks that
// and an id follows two different ones, the latest prompt's order counts.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/eviction.h"

namespace kvi {

class BlockTree {
 public:
  explicit BlockTree(EvictionPolicy& policy) : policy_(policy) {}

  // How many of the first blocks are cached.
  int64_t match_prefix(std::span<const int64_t> hash_ids) const;
  // Uses the blocks, those that are not cached as new ones, and leaves them idle, the first as the most recent.
  void use(std::span<const int64_t> hash_ids);
  void evict();  // requires: size() > 0

  int64_t size() const { return static_cast<int64_t>(by_hash_.size()); }
  int64_t num_inner_victims() const {
    return num_inner_victims_;
  }  // victims that had cached children

 private:
  struct Node {
    int64_t hash_id = 0;
    EntryId parent = kNoEntry, first_child = kNoEntry;
    EntryId next = kNoEntry, previous = kNoEntry;  // siblings
    int64_t last_use = 0;
  };

  EntryId add(int64_t hash_id, int64_t index);
  void link(EntryId child, EntryId parent);
  void unlink(EntryId child);

  EvictionPolicy& policy_;
  std::vector<Node> nodes_;  // by EntryId
  std::vector<EntryId> free_;
  std::vector<EntryId> path_;  // of the request in use()
  std::unordered_map<int64_t, EntryId> by_hash_;
  int64_t num_uses_ = 0, num_inner_victims_ = 0;
};

}  // namespace kvi
