#include "cache/prefix_cache.h"

#include <algorithm>

#include "base/error.h"
#include "base/short_memory.h"

namespace kvi {
namespace {

// Tenants whose prefixes a probe compares with, to say why it missed.
constexpr int kMostScopesToTry = 4096;

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
  scope_of_salt_[kSharedScope] = add_scope(kSharedScope);
  const auto dropped = [this](NodeId node) { remove_if_unused(node); };
  if (options_.host && options_.host_bytes > 0) {
    tiers_[0] = std::make_unique<LowerTier>(TierId::host, options_.host, options_.host_bytes,
                                            page_bytes, options_.eviction_policy, tree_, dropped);
  }
  if (options_.disk && options_.disk_bytes > 0) {
    tiers_[1] = std::make_unique<LowerTier>(TierId::disk, options_.disk, options_.disk_bytes,
                                            page_bytes, options_.eviction_policy, tree_, dropped);
    adopt_stored(*tiers_[1]);
  }
}

// ---- scopes ----

int PrefixCache::scope_of_tenant(std::string_view tenant) {
  const Digest salt = scope_salt(options_.secret, tenant);
  return scope_of(salt);
}

int PrefixCache::scope_of(const Digest& salt) {
  const auto [found, is_new] = scope_of_salt_.emplace(salt, 0);
  if (!is_new) return found->second;
  Undo forget([&, place = found] { scope_of_salt_.erase(place); });
  found->second = add_scope(salt);
  forget.keep();
  return found->second;
}

int PrefixCache::add_scope(const Digest& salt) {
  const size_t num_scopes = salts_.size() + 1;
  cached_bytes_.resize(num_scopes);
  reserve_more(over_share_, num_scopes - over_share_.size());
  salts_.push_back(salt);
  return static_cast<int>(salts_.size()) - 1;
}

int PrefixCache::make_private_scope() {
  // No tenant's salt: a salt is a hash, and this is not one that anybody can ask for.
  Digest salt = {0xff, 'p', 'r', 'i', 'v', 'a', 't', 'e'};
  const uint64_t number = num_private_scopes_++;
  for (int i = 0; i < 8; ++i) salt[8 + i] = static_cast<uint8_t>(number >> (8 * i));
  return add_scope(salt);
}

void PrefixCache::update_idle(int group, PageId page) {
  const PagePool& pool = pages_.pool(group);
  const NodeId node = pool.node(page);
  if (node == kNoNode) return;
  Evictor& evictor = evictors_[group];
  const int idle_before = evictor.num_idle();
  if (pool.page_class(page) == PageClass::cached) {
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
  if (pool.num_holders(page) == 0 && pool.node(page) != kNoNode)
    want_stored(pool.node(page), group);
}

void PrefixCache::release_unwritten(int group, PageId page) {
  pages_.forget_content(group, page);
  release(group, page);
}

PageId PrefixCache::take_lower_page(int group, PageId page, int scope) {
  const PagePool& pool = pages_.pool(group);
  if (pool.num_holders(page) > 1 || pool.is_in_flight(page)) return kNoPage;
  return pages_.allocate_below(group, page, scope);
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
  reserve_more(copies, 1);
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
  const Band band = groups_[group].window > 0 ? Band::loose : Band::normal;
  evictors_[group].insert(node, entry_of(node, group), band, tree_.scope(node));
  // What is being loaded is committed when it has come.
  if (!pages_.pool(group).is_in_flight(page)) pages_.set_state(group, page, PageState::committed);
  pages_.index(group, page, node);
  tree_.set_place(node, TierId::device, group, page);
  return page;
}

void PrefixCache::hit(NodeId node) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (evictors_[g].has(node)) evictors_[g].hit(node);
  }
}

void PrefixCache::mark_boundary(NodeId node, Band band) {
  if (band == Band::low) return lower(node);
  const int num_tokens = (tree_.depth(node) + 1) * page_len_;
  for (; node != PrefixTree::kRoot; node = tree_.parent(node)) {
    bool in_any = false;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const bool in_window = tree_.depth(node) >=
                             first_needed_page(static_cast<int>(g), num_tokens);
      const bool raises = groups_[g].window > 0 || band != Band::normal;
      in_any |= in_window && raises;
      if (in_window && evictors_[g].has(node) && evictors_[g].band(node) < band) {
        try_to([&] { evictors_[g].set_band(node, band); });
      }
    }
    if (!in_any) return;
  }
}

// As far as no other prefix goes through it.
void PrefixCache::lower(NodeId node) {
  for (; node != PrefixTree::kRoot && tree_.num_children(node) <= 1; node = tree_.parent(node)) {
    for (Evictor& evictor : evictors_) {
      if (evictor.has(node) && evictor.band(node) == Band::normal) {
        try_to([&] { evictor.set_band(node, Band::low); });
      }
    }
  }
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
      KVI_CHECK(pool.node(page) == node);
      num_indexed += pool.page_class(page) != PageClass::deferred;
    }
    KVI_CHECK(num_indexed ==
              pool.num_in_class(PageClass::cached) + pool.num_in_class(PageClass::pinned));
  }
}

}  // namespace kvi
