// Of PrefixCache: who goes when room is wanted, or when somebody says so.
#include <algorithm>
#include <climits>

#include "cache/prefix_cache.h"

namespace kvi {
namespace {

// Granules looked at for one that can be emptied, before something else is tried.
constexpr int kGranuleTries = 64;

}  // namespace

bool PrefixCache::is_over_share(int scope) const {
  return scope != kSharedScopeId &&
         static_cast<double>(cached_bytes_[scope]) >
             options_.tenant_share * static_cast<double>(pages_.budget_bytes());
}

void PrefixCache::count_cached(int group, NodeId node, int sign) {
  const int scope = tree_.scope(node);
  const uint64_t page_bytes = groups_[group].layout.page_bytes;
  cached_bytes_[scope] += sign > 0 ? page_bytes : -page_bytes;
  // Who is over is looked at when something is to be evicted; so are the many who are not never gone through.
  if (sign > 0 && is_over_share(scope) &&
      std::ranges::find(over_share_, scope) == over_share_.end())
    over_share_.push_back(scope);
}

// Evicts until the group has a free page, or a granule is free for it.
bool PrefixCache::make_room(int group) {
  const int num_groups = static_cast<int>(groups_.size());
  if (evict_one(group, Band::loose)) return true;
  for (int other = 0; other < num_groups; ++other) {
    if (other != group && empty_a_granule(other, Band::loose, kGranuleTries)) return true;
  }
  if (evict_one(group, Band::high)) return true;
  // Before anybody goes without, every granule is looked at.
  for (const int num_tries : {kGranuleTries, INT_MAX}) {
    for (int other = 0; other < num_groups; ++other) {
      if (other != group && empty_a_granule(other, Band::high, num_tries)) return true;
    }
  }
  return false;
}

NodeId PrefixCache::leaf_below(NodeId node, int group) const {
  // In a window's group a page is worth as much without those after it.
  if (groups_[group].window > 0) return node;
  while (tree_.num_children_in(node, TierId::device, group) > 0) {
    NodeId child = tree_.first_child(node);
    while (tree_.place(child, TierId::device, group) == PrefixTree::kNowhere)
      child = tree_.next_sibling(child);
    if (pages_.pool(group).is_in_flight(tree_.place(child, TierId::device, group))) return node;
    node = child;
  }
  return node;
}

bool PrefixCache::evict_one(int group, Band most) {
  Evictor& evictor = evictors_[group];
  NodeId victim = evictor.victim(most);
  if (victim == kNoNode) return false;
  if (most == Band::high) {
    std::erase_if(over_share_, [&](int scope) { return !is_over_share(scope); });
    // Bands and the policy rule as long as nobody loses for somebody else's flood.
    const bool hits_who_floods = is_over_share(tree_.scope(victim));
    for (const int scope : over_share_) {
      if (hits_who_floods) break;
      const NodeId own = evictor.victim_of_scope(scope);
      if (own == kNoNode) continue;
      victim = own;
      break;
    }
  }
  ++stats_.evicted_pages[0];
  drop_device_copy(leaf_below(victim, group), group);
  return true;
}

// Evicts what lies on one granule of the group, so that another group can have it.
bool PrefixCache::empty_a_granule(int group, Band most, int num_tries) {
  const PageRange& range = pages_.range(group);
  const PagePool& pool = pages_.pool(group);
  const int num_granules = range.num_granules();
  if (num_granules == 0 || evictors_[group].victim(most) == kNoNode) return false;
  for (int tries = std::min(num_tries, num_granules); tries > 0; --tries) {
    int& cursor = granule_cursor_[group];
    cursor = cursor > 0 && cursor < num_granules ? cursor - 1 : num_granules - 1;
    if (!range.is_granule_mapped(cursor)) continue;
    const auto [first, end] = range.pages_on(cursor);
    const auto may_go = [&](PageId page) {
      if (!range.is_used(page)) return true;
      return pool.page_class(page) == PageClass::cached &&
             evictors_[group].band(pool.node(page)) <= most;
    };
    bool can_be_emptied = true;
    for (PageId page = first; page < end && can_be_emptied; ++page) can_be_emptied = may_go(page);
    if (!can_be_emptied) continue;
    for (PageId page = first; page < end; ++page) {
      if (!range.is_used(page)) continue;
      ++stats_.evicted_pages[0];
      drop_device_copy(pool.node(page), group);
    }
    return true;
  }
  return false;
}

uint64_t PrefixCache::trim(uint64_t num_bytes) {
  uint64_t given_back = pages_.give_back_idle(num_bytes);
  while (given_back < num_bytes) {
    bool evicted = false;
    for (Band most : {Band::loose, Band::high}) {
      for (int group = 0; group < static_cast<int>(groups_.size()) && !evicted; ++group) {
        evicted = empty_a_granule(group, most, kGranuleTries) || evict_one(group, most);
      }
    }
    if (!evicted) break;
    given_back += pages_.give_back_idle(num_bytes - given_back);
  }
  return given_back;
}

void PrefixCache::drop_device_copy(NodeId node, int group) {
  const PageId page = tree_.place(node, TierId::device, group);
  Evictor& evictor = evictors_[group];
  const int idle_before = evictor.num_idle();
  evictor.erase(node);
  if (evictor.num_idle() != idle_before) count_cached(group, node, -1);
  tree_.set_place(node, TierId::device, group, PrefixTree::kNowhere);
  pages_.unindex(group, page);
  remove_if_unused(node);
}

void PrefixCache::remove_if_unused(NodeId node) {
  while (tree_.is_unused(node)) {
    const NodeId parent = tree_.parent(node);
    evicted_.add(tree_.key(node));
    tree_.remove(node);
    node = parent;
  }
}

void PrefixCache::evict(NodeId node) {
  for (int tier = 1; tier < kNumTiers; ++tier) {
    for (int g = 0; tiers_[tier - 1] && g < static_cast<int>(groups_.size()); ++g) {
      if (!tree_.exists(node)) return;
      if (tree_.place(node, static_cast<TierId>(tier), g) != PrefixTree::kNowhere &&
          !tiers_[tier - 1]->is_pinned(node, g))
        tiers_[tier - 1]->drop(node, g);
    }
  }
  for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
    if (!tree_.exists(node)) return;
    const PageId page = tree_.place(node, TierId::device, g);
    if (page == PrefixTree::kNowhere || pages_.pool(g).page_class(page) != PageClass::cached)
      continue;
    ++stats_.evicted_pages[0];
    drop_device_copy(node, g);
  }
}

void PrefixCache::evict_prefix(const SequencePages& sequence, std::span<const TokenId> tokens) {
  std::vector<NodeId> path;
  extend(sequence.node, sequence.scope, false, tokens, 0, static_cast<int>(tokens.size()), path);
  if (path.empty()) return;
  NodeId last = path.back();
  // What goes on after it, and the page itself: the deepest first.
  std::vector<NodeId> below = {last};
  for (size_t i = 0; i < below.size(); ++i) {
    for (NodeId child = tree_.first_child(below[i]); child != kNoNode;
         child = tree_.next_sibling(child)) {
      below.push_back(child);
    }
  }
  NodeId above = tree_.parent(last);
  for (size_t i = below.size(); i-- > 0;) evict(below[i]);
  while (above != PrefixTree::kRoot && tree_.exists(above) && tree_.num_children(above) == 0) {
    const NodeId node = above;
    above = tree_.parent(node);
    evict(node);
  }
}

int PrefixCache::evict_scope(std::optional<int> scope) {
  std::vector<NodeId> nodes;
  for (NodeId node = PrefixTree::kRoot + 1; node < tree_.end_id(); ++node) {
    if (tree_.exists(node) && (!scope || tree_.scope(node) == *scope)) nodes.push_back(node);
  }
  std::stable_sort(nodes.begin(), nodes.end(),
                   [&](NodeId a, NodeId b) { return tree_.depth(a) > tree_.depth(b); });
  for (const NodeId node : nodes) {
    if (tree_.exists(node)) evict(node);
  }
  return static_cast<int>(nodes.size());
}

}  // namespace kvi
