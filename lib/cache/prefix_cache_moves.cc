// Of PrefixCache: copies in lower tiers, planned here and made by somebody else.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/short_memory.h"
#include "cache/prefix_cache.h"

namespace kvi {
namespace {

// Background writes in flight at once, in pages: enough to keep a tier busy, little to wait for.
constexpr size_t kMostBackgroundMoves = 64;
constexpr size_t kMostWanted = 1 << 16;  // pages that wait to be copied

}  // namespace

bool PrefixCache::is_readable(NodeId node, int group) const {
  for (const auto& tier : tiers_) {
    if (tier && tier->is_readable(node, group)) return true;
  }
  return false;
}

void PrefixCache::want_stored(NodeId node, int group) {
  if (!options_.prefix_caching) return;
  bool is_missing = false;
  for (const auto& tier : tiers_) {
    is_missing |= tier && tree_.place(node, tier->id(), group) == PrefixTree::kNowhere;
  }
  if (!is_missing) return;
  try_to([&] {
    newly_wanted_.push_back({node, group});
  });  // where memory is short it goes without a copy
}

// In a list of its own, so that nothing is allocated when it is planned.
std::list<PageMove> PrefixCache::make_move(MoveKind kind, const LowerTier& tier, NodeId node,
                                           int group, PageId page) {
  const auto tokens = tree_.tokens(node);
  std::list<PageMove> made;
  made.push_back({.kind = kind,
                  .tier = tier.id(),
                  .group = group,
                  .page = page,
                  .node = node,
                  .record = {.key = tree_.key(node),
                             .parent = tree_.key(tree_.parent(node)),
                             .scope = salts_[tree_.scope(node)],
                             .group = group,
                             .first_token = tree_.depth(node) * page_len_,
                             .tokens = {}},
                  .tokens = {tokens.begin(), tokens.end()}});
  made.back().record.tokens = made.back().tokens;
  return made;
}

void PrefixCache::plan_move(std::list<PageMove> made, SlotId slot) {
  PageMove& move = made.back();
  move.id = next_move_++;
  move.slot = slot;
  begin_flight(move.group, move.page);
  planned_.splice(planned_.end(), made);
}

bool PrefixCache::store(NodeId node, int group, TierId tier_id) {
  LowerTier* tier = this->tier(tier_id);
  if (tier == nullptr) return false;
  if (tree_.place(node, tier_id, group) != PrefixTree::kNowhere) return true;
  const PageId page = tree_.place(node, TierId::device, group);
  if (page == PrefixTree::kNowhere || pages_.pool(group).state(page) != PageState::committed)
    return false;
  std::list<PageMove> move = make_move(MoveKind::store, *tier, node, group, page);
  const SlotId slot = tier->begin_store(node, group, entry_of(node, group),
                                        evictors_[group].band(node));
  if (slot == PrefixTree::kNowhere) return false;
  plan_move(std::move(move), slot);
  return true;
}

void PrefixCache::load(NodeId node, int group, PageId page) {
  const int from = tiers_[0] && tiers_[0]->is_readable(node, group) ? 0 : 1;
  LowerTier& tier = *tiers_[from];
  std::list<PageMove> move = make_move(MoveKind::load, tier, node, group, page);
  const SlotId slot = tree_.place(node, tier.id(), group);
  tier.begin_load(group, slot);
  pages_.set_state(group, page, PageState::writing);
  plan_move(std::move(move), slot);
}

// Copies of what lies idle, so that evicting it later loses nothing.
void PrefixCache::store_wanted() {
  // A sequence's last page becomes idle first; its first is stored first, so that after a crash what is there is of use.
  try_to([&] { wanted_.insert(wanted_.end(), newly_wanted_.rbegin(), newly_wanted_.rend()); });
  newly_wanted_.clear();
  // Where the tiers cannot keep up, what became idle first goes without a copy.
  while (wanted_.size() > kMostWanted) wanted_.pop_front();
  while (!wanted_.empty() && num_moves() < kMostBackgroundMoves) {
    const NodeId node = wanted_.front().node;
    const int group = wanted_.front().group;
    wanted_.pop_front();
    if (!tree_.exists(node)) continue;
    const PageId page = tree_.place(node, TierId::device, group);
    if (page == PrefixTree::kNowhere ||
        (groups_[group].window > 0 && evictors_[group].band(node) == Band::loose))
      continue;
    try_to([&] {
      for (TierId tier : {TierId::host, TierId::disk}) store(node, group, tier);
    });
  }
}

size_t PrefixCache::num_planned_moves() const {
  size_t count = planned_.size();
  for (const auto& tier : tiers_) count += tier ? static_cast<size_t>(tier->num_forgotten()) : 0;
  return count;
}

bool PrefixCache::note_running(const PageMove& move) {
  return try_to([&] {
    running_.try_emplace(move.id,
                         RunningMove{move.kind, move.tier, move.group, move.page, move.slot});
  });
}

std::list<PageMove> PrefixCache::take_moves(size_t max_count) {
  store_wanted();
  std::list<PageMove> moves;
  // First what is to be forgotten: planned stores may write to the same slots.
  for (const auto& tier : tiers_) {
    if (!tier) continue;
    while (const auto freed = tier->next_forgotten()) {
      if (moves.size() >= max_count) return moves;
      PageMove move;
      move.id = next_move_++;
      move.kind = MoveKind::discard;
      move.tier = tier->id();
      move.group = freed->group;
      move.slot = freed->slot;
      std::list<PageMove> made;
      if (!try_to([&] { made.push_back(std::move(move)); })) return moves;
      if (!note_running(made.back())) return moves;
      tier->forget(*freed);
      moves.splice(moves.end(), made);
    }
  }
  while (!planned_.empty() && moves.size() < max_count) {
    if (!note_running(planned_.front())) return moves;
    moves.splice(moves.end(), planned_, planned_.begin());
  }
  return moves;
}

void PrefixCache::complete(uint64_t move_id, bool ok) {
  const auto found = running_.find(move_id);
  KVI_CHECK(found != running_.end());
  const RunningMove move = found->second;
  running_.erase(found);
  if (move.kind == MoveKind::discard) return;
  LowerTier& tier = *this->tier(move.tier);
  const uint64_t page_bytes = groups_[move.group].layout.page_bytes;
  const int t = static_cast<int>(move.tier);
  if (!ok) ++stats_.failed_moves;
  if (move.kind == MoveKind::store) {
    if (ok) stats_.stored_bytes[t] += page_bytes;
    end_flight(move.group, move.page);
    tier.end_store(move.group, move.slot, ok);
    return;
  }
  if (ok) stats_.loaded_bytes[t] += page_bytes;
  const PagePool& pool = pages_.pool(move.group);
  pages_.set_state(move.group, move.page, ok ? PageState::committed : PageState::failed);
  const NodeId indexed_as = pool.node(move.page);
  if (!ok && indexed_as != kNoNode) drop_device_copy(indexed_as, move.group);
  if (!ok) pages_.forget_content(move.group, move.page);
  end_flight(move.group, move.page);
  tier.end_load(move.group, move.slot, ok);
}

// Rebuilds the tree of what a tier kept over a restart. What lacks its parent is of no use.
void PrefixCache::adopt_stored(LowerTier& tier) {
  struct Stored {
    SlotId slot;
    PageRecord record;
    std::vector<TokenId> tokens;
  };
  std::vector<Stored> found;
  tier.store().scan([&](SlotId slot, const PageRecord& record) {
    found.push_back({slot, record, {record.tokens.begin(), record.tokens.end()}});
  });
  std::stable_sort(found.begin(), found.end(), [](const Stored& a, const Stored& b) {
    return a.record.first_token < b.record.first_token;
  });
  std::map<std::pair<Digest, Digest>, NodeId> nodes;  // by key and scope
  for (const Stored& stored : found) {
    const PageRecord& record = stored.record;
    const int scope = scope_of(record.scope);
    NodeId parent = PrefixTree::kRoot;
    if (record.first_token > 0) {
      auto above = nodes.find({record.parent, record.scope});
      if (above == nodes.end()) above = nodes.find({record.parent, kSharedScope});
      parent = above == nodes.end() ? kNoNode : above->second;
    }
    const bool fits = record.group >= 0 && record.group < static_cast<int>(groups_.size()) &&
                      parent != kNoNode && !stored.tokens.empty() &&
                      static_cast<int>(stored.tokens.size()) <= page_len_ &&
                      record.first_token == (tree_.depth(parent) + 1) * page_len_ &&
                      tier.used_bytes() + tier.slot_bytes(record.group) <= tier.budget_bytes() &&
                      child_key(parent, scope, stored.tokens) == record.key;
    const NodeId node = fits ? add_node(parent, scope, stored.tokens) : kNoNode;
    if (!fits || tree_.place(node, tier.id(), record.group) != PrefixTree::kNowhere) {
      tier.store().discard(record.group, stored.slot);
      continue;
    }
    tier.adopt(node, record.group, stored.slot, entry_of(node, record.group));
    nodes[{record.key, record.scope}] = node;
  }
}

}  // namespace kvi
