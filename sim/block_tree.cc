#include "block_tree.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "trace_file.h"

namespace kvi {

int64_t BlockTree::match_prefix(std::span<const int64_t> hash_ids) const {
  const auto missing = std::find_if_not(hash_ids.begin(), hash_ids.end(),
                                        [&](int64_t id) { return by_hash_.contains(id); });
  return missing - hash_ids.begin();
}

void BlockTree::use(std::span<const int64_t> hash_ids) {
  ++num_uses_;
  path_.clear();
  for (size_t i = 0; i < hash_ids.size(); ++i) {
    const auto found = by_hash_.find(hash_ids[i]);
    EntryId id = kNoEntry;
    if (found == by_hash_.end()) {
      id = add(hash_ids[i], static_cast<int64_t>(i));
    } else {
      id = found->second;
      if (nodes_[id].last_use == num_uses_) continue;  // named twice
      policy_.hit(id);
      policy_.set_busy(id);
      unlink(id);
    }
    nodes_[id].last_use = num_uses_;
    link(id, path_.empty() ? kNoEntry : path_.back());
    path_.push_back(id);
  }
  for (auto id = path_.rbegin(); id != path_.rend(); ++id) policy_.set_idle(*id);
}

void BlockTree::evict() {
  EntryId id = policy_.victim();
  KVI_CHECK(id != kNoEntry);
  if (nodes_[id].first_child != kNoEntry) ++num_inner_victims_;
  while (nodes_[id].first_child != kNoEntry) id = nodes_[id].first_child;
  policy_.erase(id);
  unlink(id);
  by_hash_.erase(nodes_[id].hash_id);
  free_.push_back(id);
}

EntryId BlockTree::add(int64_t hash_id, int64_t index) {
  if (free_.empty()) {
    free_.push_back(static_cast<EntryId>(nodes_.size()));
    nodes_.emplace_back();
  }
  const EntryId id = free_.back();
  free_.pop_back();
  nodes_[id] = {.hash_id = hash_id};
  by_hash_[hash_id] = id;
  const int64_t first_token = std::min<int64_t>(index * kTraceBlockTokens,
                                                std::numeric_limits<int>::max());
  policy_.insert(id, {.key = random_bits(0, static_cast<uint64_t>(hash_id)),
                      .first_token = static_cast<int>(first_token),
                      .bytes = kTraceBlockTokens});
  return id;
}

void BlockTree::link(EntryId child, EntryId parent) {
  Node& node = nodes_[child];
  node.parent = parent;
  if (parent == kNoEntry) return;
  node.next = nodes_[parent].first_child;
  if (node.next != kNoEntry) nodes_[node.next].previous = child;
  nodes_[parent].first_child = child;
}

void BlockTree::unlink(EntryId child) {
  Node& node = nodes_[child];
  if (node.next != kNoEntry) nodes_[node.next].previous = node.previous;
  if (node.previous != kNoEntry) {
    nodes_[node.previous].next = node.next;
  } else if (node.parent != kNoEntry) {
    nodes_[node.parent].first_child = node.next;
  }
  node.parent = node.next = node.previous = kNoEntry;
}

}  // namespace kvi
