#include "cache/prefix_cache.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {
namespace {

// Background writes in flight at once, in pages: enough to keep a tier busy, little to wait for.
constexpr size_t kMostBackgroundMoves = 64;
constexpr size_t kMostWanted = 1 << 16;  // pages that wait to be copied
// Tenants whose prefixes a probe compares with, to say why it missed.
constexpr int kMostScopesToTry = 4096;
// Granules looked at for one that can be emptied, before giving up.
constexpr int kGranuleTries = 64;

CacheOptions with_budget(CacheOptions options) {
  if (!options.shared_budget) options.shared_budget = std::make_shared<MemoryBudget>(UINT64_MAX);
  return options;
}

}  // namespace

PrefixCache::PrefixCache(const std::vector<LayerGroup>& groups, const CacheOptions& options,
                         const ReserveMemory& reserve_memory)
    : groups_(groups),
      options_(with_budget(options)),
      page_len_(groups.at(0).layout.page_len),
      tree_(page_len_, static_cast<int>(groups.size()), root_digest(options.identity)),
      pages_(groups, options_.shared_budget, options.budget_bytes, options.range_bytes,
             reserve_memory),
      events_(options.num_events) {
  if (events_.is_on()) {
    tree_.set_observer([this](NodeId node, TierId tier, bool is_there) {
      events_.add({.kind = is_there ? CacheEventKind::stored : CacheEventKind::removed,
                   .tier = tier,
                   .num_tokens = tree_.depth(node) * page_len_ +
                                 static_cast<int>(tree_.tokens(node).size()),
                   .key = tree_.key(node),
                   .parent = tree_.key(tree_.parent(node))});
    });
  }
  std::vector<uint64_t> page_bytes;
  for (const LayerGroup& group : groups_) {
    evictors_.emplace_back(options.eviction_policy);
    page_bytes.push_back(group.layout.page_bytes);
  }
  granule_cursor_.assign(groups_.size(), 0);
  salts_.push_back(kSharedScope);
  scope_of_salt_[kSharedScope] = kSharedScopeId;
  const auto events = [this](TierId tier) {
    return LowerTier::Events{.dropped = [this](NodeId node) { remove_if_unused(node); },
                             .freed =
                                 [this, tier](int group, SlotId slot) {
                                   PageMove& move = planned_.emplace_back();
                                   move.id = next_move_++;
                                   move.kind = MoveKind::discard;
                                   move.tier = tier;
                                   move.group = group;
                                   move.slot = slot;
                                 }};
  };
  if (options_.host && options_.host_bytes > 0) {
    tiers_[0] = std::make_unique<LowerTier>(TierId::host, options_.host, options_.host_bytes,
                                            page_bytes, options_.eviction_policy, tree_,
                                            events(TierId::host));
  }
  if (options_.disk && options_.disk_bytes > 0) {
    tiers_[1] = std::make_unique<LowerTier>(TierId::disk, options_.disk, options_.disk_bytes,
                                            page_bytes, options_.eviction_policy, tree_,
                                            events(TierId::disk));
    adopt_stored(*tiers_[1]);
  }
}

// ---- scopes ----

int PrefixCache::scope_of_tenant(std::string_view tenant) {
  const Digest salt = scope_salt(options_.secret, tenant);
  const auto [found, is_new] = scope_of_salt_.emplace(salt, static_cast<int>(salts_.size()));
  if (is_new) salts_.push_back(salt);
  return found->second;
}

int PrefixCache::make_private_scope() {
  // No tenant's salt: a salt is a hash, and this is not one that anybody can ask for.
  Digest salt = {0xff, 'p', 'r', 'i', 'v', 'a', 't', 'e'};
  const uint64_t number = num_private_scopes_++;
  for (int i = 0; i < 8; ++i) salt[8 + i] = static_cast<uint8_t>(number >> (8 * i));
  salts_.push_back(salt);
  return static_cast<int>(salts_.size()) - 1;
}

bool PrefixCache::is_over_share(int scope) const {
  return scope != kSharedScopeId && scope < static_cast<int>(cached_bytes_.size()) &&
         static_cast<double>(cached_bytes_[scope]) >
             options_.tenant_share * static_cast<double>(pages_.budget_bytes());
}

// ---- pages ----

void PrefixCache::count_cached(int group, NodeId node, int sign) {
  const int scope = tree_.scope(node);
  if (static_cast<int>(cached_bytes_.size()) <= scope) cached_bytes_.resize(scope + 1);
  const uint64_t page_bytes = groups_[group].layout.page_bytes;
  cached_bytes_[scope] += sign > 0 ? page_bytes : -page_bytes;
  // Who is over is looked at when something is to be evicted; so are the many who are not never gone through.
  if (sign > 0 && is_over_share(scope) &&
      std::ranges::find(over_share_, scope) == over_share_.end())
    over_share_.push_back(scope);
}

void PrefixCache::update_idle(int group, PageId page) {
  const PagePool& pool = pages_.pool(group);
  const NodeId node = pool.node(page);
  if (node == kNoNode) return;
  Evictor& evictor = evictors_[group];
  const int idle_before = evictor.num_idle();
  if (pool.page_class(page) == PageClass::cached && !pool.is_in_flight(page)) {
    evictor.set_idle(node);
  } else {
    evictor.set_busy(node);
  }
  const int change = evictor.num_idle() - idle_before;
  if (change != 0) count_cached(group, node, change);
}

void PrefixCache::retain(int group, PageId page) {
  pages_.retain(group, page);
  update_idle(group, page);
}

void PrefixCache::release(int group, PageId page) {
  pages_.release(group, page);
  update_idle(group, page);
  // Once, when its last holder leaves: not again when a copy was made or refused, or two full tiers would push
  // each other's copies out for ever.
  const PagePool& pool = pages_.pool(group);
  if (pool.page_class(page) == PageClass::cached) want_stored(pool.node(page), group);
}

void PrefixCache::release_unwritten(int group, PageId page) {
  pages_.forget_content(group, page);
  release(group, page);
}

PageId PrefixCache::take_lower_page(int group, PageId page, int scope) {
  const PageId lower = pages_.range(group).lowest_free_mapped();
  if (lower == kNoPage || lower >= page || pages_.pool(group).num_holders(page) > 1 ||
      pages_.pool(group).is_in_flight(page)) {
    return kNoPage;
  }
  bool to_zero;  // all of it is overwritten
  return pages_.allocate(group, scope, to_zero);
}

void PrefixCache::replace_page(int group, PageId from, PageId to) {
  const PagePool& pool = pages_.pool(group);
  const PageState state = pool.state(from);
  const NodeId node = pool.node(from);
  // Until the copy is made, nobody may read it for what the node says.
  pages_.set_state(group, to, node == kNoNode ? state : PageState::writing);
  if (node == kNoNode) return;
  pages_.unindex(group, from);
  pages_.index(group, to, node);
  tree_.set_place(node, TierId::device, group, to);
}

void PrefixCache::begin_flight(int group, PageId page) {
  pages_.begin_flight(group, page);
  update_idle(group, page);
}

void PrefixCache::end_flight(int group, PageId page) {
  pages_.end_flight(group, page);
  update_idle(group, page);
}

PageId PrefixCache::allocate(int group, int scope, std::vector<PageCopy>& copies) {
  bool to_zero = false;
  for (;;) {
    const PageId page = pages_.allocate(group, scope, to_zero);
    if (page != kNoPage) {
      if (to_zero) {
        copies.push_back({group, kNoPage, page});
        begin_flight(group, page);
      }
      return page;
    }
    if (!make_room(group)) {
      pages_.call_for_memory();
      return kNoPage;
    }
  }
}

// Evicts until the group has a free page, or a granule is free for it.
bool PrefixCache::make_room(int group) {
  const int num_groups = static_cast<int>(groups_.size());
  if (evict_one(group, Band::loose)) return true;
  for (int other = 0; other < num_groups; ++other) {
    if (other != group && empty_a_granule(other, Band::loose)) return true;
  }
  if (evict_one(group, Band::high)) return true;
  for (int other = 0; other < num_groups; ++other) {
    if (other != group && empty_a_granule(other, Band::high)) return true;
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
    for (const int scope : over_share_) {
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
bool PrefixCache::empty_a_granule(int group, Band most) {
  const PageRange& range = pages_.range(group);
  const PagePool& pool = pages_.pool(group);
  const int num_granules = range.num_granules();
  if (num_granules == 0 || evictors_[group].victim(most) == kNoNode) return false;
  for (int tries = std::min(kGranuleTries, num_granules); tries > 0; --tries) {
    int& cursor = granule_cursor_[group];
    cursor = cursor > 0 && cursor < num_granules ? cursor - 1 : num_granules - 1;
    if (!range.is_granule_mapped(cursor)) continue;
    const auto [first, end] = range.pages_on(cursor);
    const auto may_go = [&](PageId page) {
      if (!range.is_used(page)) return true;
      return pool.page_class(page) == PageClass::cached && !pool.is_in_flight(page) &&
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
        evicted = empty_a_granule(group, most) || evict_one(group, most);
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

void PrefixCache::unref(NodeId node) {
  tree_.unref(node);
  remove_if_unused(node);
}

// ---- the index ----

EvictionEntry PrefixCache::entry_of(NodeId node, int group) const {
  uint64_t word;
  std::copy_n(tree_.key(node).begin(), sizeof word, reinterpret_cast<uint8_t*>(&word));
  return {.key = word,
          .first_token = tree_.depth(node) * page_len_,
          .bytes = groups_[group].layout.page_bytes};
}

Digest PrefixCache::child_key(NodeId parent, int scope, std::span<const TokenId> tokens) const {
  const bool enters = parent == PrefixTree::kRoot || tree_.scope(parent) != scope;
  const Digest& key = tree_.key(parent);
  return page_key(enters ? enter_scope(key, salts_[scope]) : key, tokens);
}

int PrefixCache::first_needed_page(int group, int num_tokens) const {
  const int window = groups_[group].window;
  // The last computed position's own window stays, so that it can be computed again.
  return window == 0 ? 0 : std::max(0, num_tokens - window) / page_len_;
}

void PrefixCache::extend(NodeId from, int scope, bool reads_shared, std::span<const TokenId> tokens,
                         int first, int limit, std::vector<NodeId>& path) const {
  NodeId node = from;
  for (int page = first; (page + 1) * page_len_ <= limit; ++page) {
    const auto page_tokens = tokens.subspan(static_cast<size_t>(page) * page_len_, page_len_);
    const bool in_shared = node == PrefixTree::kRoot || tree_.scope(node) == kSharedScopeId;
    NodeId child = kNoNode;
    if (tree_.num_children(node) > 0 && in_shared && reads_shared) {
      child = tree_.find_child(node, kSharedScopeId, child_key(node, kSharedScopeId, page_tokens),
                               page_tokens);
    }
    if (tree_.num_children(node) > 0 && child == kNoNode &&
        (scope != kSharedScopeId || !reads_shared)) {
      child = tree_.find_child(node, scope, child_key(node, scope, page_tokens), page_tokens);
    }
    if (child == kNoNode) return;
    path.push_back(child);
    node = child;
  }
}

bool PrefixCache::has_usable_copy(NodeId node, int group, bool in_lower_tiers) const {
  const PageId page = tree_.place(node, TierId::device, group);
  if (page != PrefixTree::kNowhere) return true;
  return in_lower_tiers && is_readable(node, group);
}

PrefixMatch PrefixCache::match(const SequencePages& sequence, std::span<const TokenId> tokens,
                               int limit, bool in_lower_tiers) const {
  PrefixMatch match;
  match.first = match.num_pages = sequence.num_indexed;
  extend(sequence.node, sequence.scope, sequence.reads_shared, tokens, match.first, limit,
         match.path);
  // A tenant's own pages may go on where the operator's prefix ends otherwise.
  if (sequence.node == PrefixTree::kRoot && sequence.reads_shared && !match.path.empty() &&
      tree_.scope(match.path[0]) == kSharedScopeId && sequence.scope != kSharedScopeId) {
    std::vector<NodeId> own;
    extend(sequence.node, sequence.scope, false, tokens, match.first, limit, own);
    if (own.size() > match.path.size()) match.path = std::move(own);
  }

  const int num_groups = static_cast<int>(groups_.size());
  std::vector<int> first_run(num_groups, 0);  // [group]: all pages from there to here have a copy
  for (int g = 0; g < num_groups; ++g) first_run[g] = sequence.first_held[g];
  for (size_t i = 0; i < match.path.size(); ++i) {
    const int page = match.first + static_cast<int>(i);
    bool is_reusable = true;
    for (int g = 0; g < num_groups; ++g) {
      if (!has_usable_copy(match.path[i], g, in_lower_tiers)) first_run[g] = page + 1;
      is_reusable &= first_run[g] <= first_needed_page(g, (page + 1) * page_len_);
    }
    if (is_reusable) match.num_pages = page + 1;
    // Without a page of full attention nothing behind it is of use.
    if (first_run[0] > page && groups_[0].window == 0) break;
  }
  match.path.resize(static_cast<size_t>(match.num_pages - match.first));

  const int first_token = match.num_pages * page_len_;
  if (first_token >= limit) return match;
  const NodeId last = match.path.empty() ? sequence.node : match.path.back();
  const auto rest = tokens.subspan(first_token, std::min(limit - first_token, page_len_));
  const auto is_there = [&](NodeId node) {
    for (int g = 0; g < num_groups; ++g) {
      const PageId page = tree_.place(node, TierId::device, g);
      const bool on_device = page != PrefixTree::kNowhere &&
                             pages_.pool(g).state(page) == PageState::committed;
      if (!on_device && !(in_lower_tiers && is_readable(node, g))) return false;
    }
    return true;
  };
  match.partial = tree_.find_partial(last, sequence.scope, rest, is_there);
  if (sequence.reads_shared && (last == PrefixTree::kRoot || tree_.scope(last) == kSharedScopeId)) {
    const auto shared = tree_.find_partial(last, kSharedScopeId, rest, is_there);
    if (shared.num_tokens > match.partial.num_tokens) match.partial = shared;
  }
  return match;
}

NodeId PrefixCache::add_node(NodeId parent, int scope, std::span<const TokenId> tokens) {
  const Digest key = child_key(parent, scope, tokens);
  if (static_cast<int>(tokens.size()) < page_len_) {
    const auto same = tree_.find_partial(parent, scope, tokens, [&](NodeId node) {
      return tree_.tokens(node).size() == tokens.size();
    });
    if (same.num_tokens == static_cast<int>(tokens.size())) return same.node;
    return tree_.add_child(parent, scope, key, tokens);
  }
  const NodeId found = tree_.find_child(parent, scope, key, tokens);
  if (found != kNoNode) return found;
  // A second way to go on from here: others may take a third.
  if (tree_.num_children(parent) == 1) mark_boundary(parent);
  return tree_.add_child(parent, scope, key, tokens);
}

PageId PrefixCache::index_page(NodeId node, int group, PageId page) {
  const PageId existing = tree_.place(node, TierId::device, group);
  if (existing != PrefixTree::kNowhere) {
    const bool is_there = pages_.pool(group).state(existing) == PageState::committed;
    return is_there ? existing : page;
  }
  // What is being loaded is committed when it has come.
  if (!pages_.pool(group).is_in_flight(page)) pages_.set_state(group, page, PageState::committed);
  pages_.index(group, page, node);
  tree_.set_place(node, TierId::device, group, page);
  const Band band = groups_[group].window > 0 ? Band::loose : Band::normal;
  evictors_[group].insert(node, entry_of(node, group), band, tree_.scope(node));
  return page;
}

void PrefixCache::hit(NodeId node) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (evictors_[g].has(node)) evictors_[g].hit(node);
  }
}

void PrefixCache::mark_boundary(NodeId node, Band band) {
  const int num_tokens = (tree_.depth(node) + 1) * page_len_;
  for (; node != PrefixTree::kRoot; node = tree_.parent(node)) {
    bool in_any = false;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const bool in_window = tree_.depth(node) >=
                             first_needed_page(static_cast<int>(g), num_tokens);
      const bool raises = groups_[g].window > 0 || band != Band::normal;
      in_any |= in_window && raises;
      if (in_window && evictors_[g].has(node) && evictors_[g].band(node) < band) {
        evictors_[g].set_band(node, band);
      }
    }
    if (!in_any) return;
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
    if (page == PrefixTree::kNowhere || pages_.pool(g).page_class(page) != PageClass::cached ||
        pages_.pool(g).is_in_flight(page))
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

int PrefixCache::longest_of_others(const SequencePages& sequence,
                                   std::span<const TokenId> tokens) const {
  size_t longest = 0;
  std::vector<NodeId> path;
  for (int scope = 0; scope < std::min<int>(static_cast<int>(salts_.size()), kMostScopesToTry);
       ++scope) {
    // Nobody may learn of what a session keeps to itself.
    if (scope == sequence.scope || !scope_of_salt_.contains(salts_[scope])) continue;
    path.clear();
    extend(PrefixTree::kRoot, scope, sequence.reads_shared, tokens, 0,
           static_cast<int>(tokens.size()), path);
    longest = std::max(longest, path.size());
  }
  return static_cast<int>(longest);
}

// ---- tiers ----

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
  // Where the tiers cannot keep up, what became idle first goes without a copy.
  if (wanted_.size() >= kMostWanted) wanted_.pop_front();
  wanted_.push_back({node, group});
}

bool PrefixCache::store(NodeId node, int group, TierId tier_id) {
  LowerTier* tier = this->tier(tier_id);
  if (tier == nullptr) return false;
  if (tree_.place(node, tier_id, group) != PrefixTree::kNowhere) return true;
  const PageId page = tree_.place(node, TierId::device, group);
  if (page == PrefixTree::kNowhere || pages_.pool(group).state(page) != PageState::committed)
    return false;
  const SlotId slot = tier->begin_store(node, group, entry_of(node, group),
                                        evictors_[group].band(node));
  if (slot == PrefixTree::kNowhere) return false;
  begin_flight(group, page);
  PageMove& move = planned_.emplace_back();
  move.id = next_move_++;
  move.kind = MoveKind::store;
  move.tier = tier_id;
  move.group = group;
  move.page = page;
  move.slot = slot;
  move.node = node;
  const NodeId parent = tree_.parent(node);
  const auto tokens = tree_.tokens(node);
  move.tokens.assign(tokens.begin(), tokens.end());
  move.record = {.key = tree_.key(node),
                 .parent = tree_.key(parent),
                 .scope = salts_[tree_.scope(node)],
                 .group = group,
                 .first_token = tree_.depth(node) * page_len_,
                 .tokens = {}};
  return true;
}

void PrefixCache::load(NodeId node, int group, PageId page) {
  const int from = tiers_[0] && tiers_[0]->is_readable(node, group) ? 0 : 1;
  LowerTier& tier = *tiers_[from];
  const SlotId slot = tree_.place(node, tier.id(), group);
  tier.begin_load(group, slot);
  pages_.set_state(group, page, PageState::writing);
  begin_flight(group, page);
  PageMove& move = planned_.emplace_back();
  move.id = next_move_++;
  move.kind = MoveKind::load;
  move.tier = tier.id();
  move.group = group;
  move.page = page;
  move.slot = slot;
  move.node = node;
  const auto tokens = tree_.tokens(node);
  move.tokens.assign(tokens.begin(), tokens.end());
  move.record = {.key = tree_.key(node),
                 .parent = tree_.key(tree_.parent(node)),
                 .scope = salts_[tree_.scope(node)],
                 .group = group,
                 .first_token = tree_.depth(node) * page_len_,
                 .tokens = {}};
}

// Copies of what lies idle, so that evicting it later loses nothing.
void PrefixCache::store_wanted() {
  while (!wanted_.empty() && num_moves() < kMostBackgroundMoves) {
    const auto [node, group] = wanted_.front();
    wanted_.pop_front();
    if (!tree_.exists(node)) continue;
    const PageId page = tree_.place(node, TierId::device, group);
    if (page == PrefixTree::kNowhere ||
        (groups_[group].window > 0 && evictors_[group].band(node) == Band::loose))
      continue;
    for (TierId tier : {TierId::host, TierId::disk}) store(node, group, tier);
  }
}

std::vector<PageMove> PrefixCache::take_moves(size_t max_count) {
  store_wanted();
  std::vector<PageMove> moves;
  while (!planned_.empty() && moves.size() < max_count) {
    PageMove move = std::move(planned_.front());
    planned_.pop_front();
    move.record.tokens = move.tokens;
    PageMove& mine = running_[move.id];
    mine = move;
    moves.push_back(std::move(move));
    moves.back().record.tokens = moves.back().tokens;
  }
  return moves;
}

void PrefixCache::complete(uint64_t move_id, bool ok) {
  const auto found = running_.find(move_id);
  KVI_CHECK(found != running_.end());
  const PageMove move = std::move(found->second);
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
    const auto [scope, is_new] = scope_of_salt_.emplace(record.scope,
                                                        static_cast<int>(salts_.size()));
    if (is_new) salts_.push_back(record.scope);
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
                      child_key(parent, scope->second, stored.tokens) == record.key;
    const NodeId node = fits ? add_node(parent, scope->second, stored.tokens) : kNoNode;
    if (!fits || tree_.place(node, tier.id(), record.group) != PrefixTree::kNowhere) {
      tier.store().discard(record.group, stored.slot);
      continue;
    }
    tier.adopt(node, record.group, stored.slot, entry_of(node, record.group));
    nodes[{record.key, record.scope}] = node;
  }
}

void PrefixCache::check_invariants() const {
  pages_.check_invariants();
  tree_.check_invariants();
  for (const auto& tier : tiers_) {
    if (tier) tier->check_invariants();
  }
  for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
    const PagePool& pool = pages_.pool(g);
    int num_indexed = 0;
    for (NodeId node = PrefixTree::kRoot + 1; node < tree_.end_id(); ++node) {
      if (!tree_.exists(node)) continue;
      const PageId page = tree_.place(node, TierId::device, g);
      KVI_CHECK(evictors_[g].has(node) == (page != PrefixTree::kNowhere));
      if (page == PrefixTree::kNowhere) continue;
      ++num_indexed;
      KVI_CHECK(pool.node(page) == node);
    }
    KVI_CHECK(num_indexed ==
              pool.num_in_class(PageClass::cached) + pool.num_in_class(PageClass::pinned));
  }
}

}  // namespace kvi
