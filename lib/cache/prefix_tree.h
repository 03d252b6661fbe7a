// The index of prefixes: a radix tree in whole pages, found by key.
//
// A node is page_len tokens that follow its parent's, in one scope (a tenant, or the operator's shared prefixes),
// and knows in which tiers each group's page of it lies. Two nodes are the same only if parent, scope and tokens
// are: the key finds, the comparison decides. The last node of a path may hold fewer tokens; such a node has no
// children, and is found by comparing only.
//
// It owns no pages and knows no policy. Not thread-safe: owned by CacheManager.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/sha256.h"
#include "base/token_id.h"
#include "cache/page_pool.h"
#include "cache/tier_id.h"

namespace kvi {

class PrefixTree {
 public:
  static constexpr NodeId kRoot = 0;
  static constexpr int32_t kNowhere = -1;

  PrefixTree(int page_len, int num_groups, const Digest& root_key);

  // Told of every copy of the first group's pages that comes or goes, when it is in the tree.
  using Observer = std::function<void(NodeId node, TierId tier, bool is_there)>;
  void set_observer(Observer observer) { observer_ = std::move(observer); }

  NodeId find_child(NodeId parent, int scope, const Digest& key,
                    std::span<const TokenId> tokens) const;
  // The child with the longest common start with tokens, of the few that came last. kNoNode: none has any.
  struct Partial {
    NodeId node = kNoNode;
    int num_tokens = 0;
  };
  template <typename Usable>
  Partial find_partial(NodeId parent, int scope, std::span<const TokenId> tokens,
                       const Usable& usable) const;
  // requires: no such child is there; tokens: at most page_len, fewer only for a leaf for ever. Alone in here, it may
  // allocate, before it changes anything.
  NodeId add_child(NodeId parent, int scope, const Digest& key, std::span<const TokenId> tokens);
  // requires: no children, no references, no copies
  void remove(NodeId node);
  bool is_unused(NodeId node) const;  // nothing holds it in the tree
  bool exists(NodeId node) const { return nodes_[node].exists; }

  NodeId parent(NodeId node) const { return nodes_[node].parent; }
  const Digest& key(NodeId node) const { return nodes_[node].key; }
  int scope(NodeId node) const { return nodes_[node].scope; }
  int depth(NodeId node) const { return nodes_[node].depth; }  // pages before it; -1: the root
  int num_children(NodeId node) const { return nodes_[node].num_children; }
  NodeId first_child(NodeId node) const { return nodes_[node].first_child; }
  NodeId next_sibling(NodeId node) const { return nodes_[node].next_sibling; }
  std::span<const TokenId> tokens(NodeId node) const {
    return std::span(tokens_).subspan(static_cast<size_t>(node) * page_len_,
                                      nodes_[node].num_tokens);
  }
  bool is_whole(NodeId node) const { return nodes_[node].num_tokens == page_len_; }

  // Sequences and pins that rely on the node being there.
  void ref(NodeId node) { ++nodes_[node].num_refs; }
  void unref(NodeId node) { --nodes_[node].num_refs; }

  // The page or slot that holds a copy, or kNowhere.
  int32_t place(NodeId node, TierId tier, int group) const {
    return copies_[copy_index(node, tier, group)].place;
  }
  void set_place(NodeId node, TierId tier, int group, int32_t place);
  bool has_copy(NodeId node, int group) const;  // in any tier
  // Children that have a copy of the group's page in the tier.
  int num_children_in(NodeId node, TierId tier, int group) const {
    return copies_[copy_index(node, tier, group)].num_children;
  }

  int num_nodes() const { return num_nodes_; }
  int page_len() const { return page_len_; }
  int num_groups() const { return num_groups_; }
  NodeId end_id() const { return static_cast<NodeId>(nodes_.size()); }  // ids are below it

  void check_invariants() const;

 private:
  struct Node {
    Digest key = {};
    NodeId parent = kNoNode, first_child = kNoNode, next_sibling = kNoNode, prev_sibling = kNoNode;
    int32_t num_children = 0, num_refs = 0, num_copies = 0;
    int32_t scope = 0, depth = -1, num_tokens = 0;
    bool exists = false;
  };
  struct Copy {
    int32_t place = kNowhere;
    int32_t num_children = 0;
  };
  // Siblings beyond this many are not looked at for a partial match: it is worth less than a page.
  static constexpr int kPartialCandidates = 32;

  size_t copy_index(NodeId node, TierId tier, int group) const {
    return (static_cast<size_t>(node) * kNumTiers + static_cast<size_t>(tier)) * num_groups_ +
           static_cast<size_t>(group);
  }
  size_t bucket_of(const Digest& key, NodeId parent) const;
  void add_free_node();
  void index_node(NodeId node);
  void unindex_node(NodeId node);
  void grow_index();
  int common_tokens(NodeId node, std::span<const TokenId> tokens) const;

  const int page_len_, num_groups_;
  Observer observer_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  // [node][page_len]
  std::vector<Copy> copies_;     // [node][tier][group]
  std::vector<NodeId> free_;     // with room for all
  std::vector<NodeId>
      index_;  // open addressing with linear probing; a power of two, at most half full
  int num_indexed_ = 0;
  int num_nodes_ = 1;  // the root
};

template <typename Usable>
PrefixTree::Partial PrefixTree::find_partial(NodeId parent, int scope,
                                             std::span<const TokenId> tokens,
                                             const Usable& usable) const {
  Partial best;
  int num_seen = 0;
  for (NodeId child = nodes_[parent].first_child; child != kNoNode && num_seen < kPartialCandidates;
       child = nodes_[child].next_sibling, ++num_seen) {
    if (nodes_[child].scope != scope || !usable(child)) continue;
    const int common = common_tokens(child, tokens);
    if (common > best.num_tokens) best = {child, common};
  }
  return best;
}

}  // namespace kvi
