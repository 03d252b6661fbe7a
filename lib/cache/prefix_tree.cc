#include "cache/prefix_tree.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/short_memory.h"

namespace kvi {

PrefixTree::PrefixTree(int page_len, int num_groups, const Digest& root_key)
    : page_len_(page_len), num_groups_(num_groups) {
  nodes_.emplace_back();
  nodes_[kRoot].key = root_key;
  nodes_[kRoot].exists = true;
  tokens_.resize(page_len_);
  copies_.resize(static_cast<size_t>(kNumTiers) * num_groups_);
  index_.assign(64, kNoNode);
}

size_t PrefixTree::bucket_of(const Digest& key, NodeId parent) const {
  uint64_t word;
  std::memcpy(&word, key.data(), sizeof word);
  // The parent too, so that keys which collide for a test spread nevertheless.
  word ^= static_cast<uint64_t>(parent) * 0x9e3779b97f4a7c15;
  word ^= word >> 29;
  return word & (index_.size() - 1);
}

NodeId PrefixTree::find_child(NodeId parent, int scope, const Digest& key,
                              std::span<const TokenId> tokens) const {
  for (size_t bucket = bucket_of(key, parent); index_[bucket] != kNoNode;
       bucket = (bucket + 1) & (index_.size() - 1)) {
    const NodeId id = index_[bucket];
    const Node& node = nodes_[id];
    if (node.parent == parent && node.key == key && node.scope == scope &&
        std::ranges::equal(this->tokens(id), tokens)) {
      return id;
    }
  }
  return kNoNode;
}

void PrefixTree::index_node(NodeId node) {
  size_t bucket = bucket_of(nodes_[node].key, nodes_[node].parent);
  while (index_[bucket] != kNoNode) bucket = (bucket + 1) & (index_.size() - 1);
  index_[bucket] = node;
}

void PrefixTree::unindex_node(NodeId node) {
  const size_t mask = index_.size() - 1;
  size_t hole = bucket_of(nodes_[node].key, nodes_[node].parent);
  while (index_[hole] != node) hole = (hole + 1) & mask;
  // Whatever could have stood in the hole moves up, so that no search ends early.
  for (size_t next = (hole + 1) & mask; index_[next] != kNoNode; next = (next + 1) & mask) {
    const size_t home = bucket_of(nodes_[index_[next]].key, nodes_[index_[next]].parent);
    if (((next - home) & mask) < ((next - hole) & mask)) continue;
    index_[hole] = index_[next];
    hole = next;
  }
  index_[hole] = kNoNode;
}

void PrefixTree::grow_index() {
  index_.assign(index_.size() * 2, kNoNode);
  for (NodeId node = kRoot + 1; node < end_id(); ++node) {
    if (nodes_[node].exists && is_whole(node)) index_node(node);
  }
}

int PrefixTree::common_tokens(NodeId node, std::span<const TokenId> tokens) const {
  const std::span<const TokenId> own = this->tokens(node);
  return static_cast<int>(std::ranges::mismatch(own, tokens).in1 - own.begin());
}

void PrefixTree::add_free_node() {
  const size_t num_nodes = nodes_.size() + 1;
  reserve_more(free_, num_nodes - free_.size());
  tokens_.resize(num_nodes * page_len_);
  copies_.resize(num_nodes * kNumTiers * num_groups_);
  nodes_.emplace_back();  // the last: it says that all is done
  free_.push_back(end_id() - 1);
}

NodeId PrefixTree::add_child(NodeId parent, int scope, const Digest& key,
                             std::span<const TokenId> tokens) {
  KVI_CHECK(!tokens.empty() && static_cast<int>(tokens.size()) <= page_len_);
  const bool is_indexed = static_cast<int>(tokens.size()) == page_len_;
  if (is_indexed && static_cast<size_t>(num_indexed_ + 1) * 2 > index_.size()) grow_index();
  if (free_.empty()) add_free_node();
  const NodeId id = free_.back();
  free_.pop_back();
  Node& node = nodes_[id];
  Node& above = nodes_[parent];
  node = {};
  node.key = key;
  node.parent = parent;
  node.scope = scope;
  node.depth = above.depth + 1;
  node.num_tokens = static_cast<int32_t>(tokens.size());
  node.exists = true;
  node.next_sibling = above.first_child;
  if (above.first_child != kNoNode) nodes_[above.first_child].prev_sibling = id;
  above.first_child = id;
  ++above.num_children;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(id) * page_len_);
  if (is_indexed) {
    index_node(id);
    ++num_indexed_;
  }
  ++num_nodes_;
  return id;
}

bool PrefixTree::is_unused(NodeId node) const {
  const Node& n = nodes_[node];
  return node != kRoot && n.num_children == 0 && n.num_refs == 0 && n.num_copies == 0;
}

void PrefixTree::remove(NodeId id) {
  KVI_CHECK(nodes_[id].exists && is_unused(id));
  if (is_whole(id)) {
    unindex_node(id);
    --num_indexed_;
  }
  Node& node = nodes_[id];
  Node& above = nodes_[node.parent];
  if (node.prev_sibling != kNoNode) nodes_[node.prev_sibling].next_sibling = node.next_sibling;
  if (node.next_sibling != kNoNode) nodes_[node.next_sibling].prev_sibling = node.prev_sibling;
  if (above.first_child == id) above.first_child = node.next_sibling;
  --above.num_children;
  node = {};
  free_.push_back(id);
  --num_nodes_;
}

void PrefixTree::set_place(NodeId node, TierId tier, int group, int32_t place) {
  Copy& copy = copies_[copy_index(node, tier, group)];
  const int change = (place != kNowhere) - (copy.place != kNowhere);
  copy.place = place;
  nodes_[node].num_copies += change;
  copies_[copy_index(nodes_[node].parent, tier, group)].num_children += change;
  if (observer_ && group == 0 && change != 0) observer_(node, tier, change > 0);
}

bool PrefixTree::has_copy(NodeId node, int group) const {
  for (int tier = 0; tier < kNumTiers; ++tier) {
    if (place(node, static_cast<TierId>(tier), group) != kNowhere) return true;
  }
  return false;
}

void PrefixTree::check_invariants() const {
  int num_nodes = 0, num_indexed = 0;
  for (NodeId id = 0; id < end_id(); ++id) {
    const Node& node = nodes_[id];
    if (!node.exists) continue;
    ++num_nodes;
    int num_children = 0;
    std::vector<int> children_in(static_cast<size_t>(kNumTiers) * num_groups_, 0);
    for (NodeId child = node.first_child; child != kNoNode; child = nodes_[child].next_sibling) {
      ++num_children;
      KVI_CHECK(nodes_[child].exists && nodes_[child].parent == id);
      KVI_CHECK(nodes_[child].depth == node.depth + 1);
      for (size_t i = 0; i < children_in.size(); ++i) {
        children_in[i] += copies_[copy_index(child, TierId::device, 0) + i].place != kNowhere;
      }
    }
    int num_copies = 0;
    for (size_t i = 0; i < children_in.size(); ++i) {
      const Copy& copy = copies_[copy_index(id, TierId::device, 0) + i];
      num_copies += copy.place != kNowhere;
      KVI_CHECK(copy.num_children == children_in[i]);
    }
    KVI_CHECK(num_children == node.num_children && num_copies == node.num_copies);
    KVI_CHECK(id == kRoot || is_whole(id) || num_children == 0);
    if (id == kRoot || !is_whole(id)) continue;
    ++num_indexed;
    KVI_CHECK(find_child(node.parent, node.scope, node.key, tokens(id)) == id);
  }
  KVI_CHECK(num_nodes == num_nodes_ && num_indexed == num_indexed_);
}

}  // namespace kvi
