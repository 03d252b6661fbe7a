#include "cache/cache_manager.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

// Bytes for one page of each group.
uint64_t least_bytes(const std::vector<LayerGroup>& groups, uint64_t budget_bytes) {
  const uint64_t granule = granule_bytes_for(budget_bytes);
  uint64_t least = 0;
  for (const LayerGroup& group : groups) {
    KVI_CHECK(group.layout.page_len == groups[0].layout.page_len && group.layout.page_bytes > 0);
    least += (group.layout.page_bytes + granule - 1) / granule * granule;
  }
  return least;
}

const std::vector<LayerGroup>& checked(const std::vector<LayerGroup>& groups,
                                       uint64_t budget_bytes) {
  const uint64_t least = least_bytes(groups, budget_bytes);
  if (budget_bytes >= least) return groups;
  throw Error(Status::EXHAUSTED, concat("a KV budget of ", budget_bytes,
                                        " bytes is too small for one page of each layer group (",
                                        least, " bytes); raise kv_budget_bytes"))
      .amounts(least, budget_bytes);
}

}  // namespace

CacheManager::CacheManager(std::vector<LayerGroup> groups, const CacheOptions& options,
                           const ReserveMemory& reserve_memory)
    : page_len_(groups.at(0).layout.page_len),
      prefixes_(checked(groups, options.budget_bytes), options, reserve_memory) {
  fresh_.resize(groups.size());
  least_budget_ = least_bytes(groups, options.budget_bytes);
}

SequencePages CacheManager::make_sequence(int scope) const {
  SequencePages sequence;
  sequence.tables.resize(groups().size());
  sequence.first_held.resize(groups().size(), 0);
  sequence.scope = scope;
  sequence.node = PrefixTree::kRoot;
  return sequence;
}

// ---- reserve and commit ----

bool CacheManager::tail_is_immutable(const SequencePages& sequence, int group) const {
  const size_t tail = static_cast<size_t>(sequence.num_tokens / page_len_);
  const std::vector<PageId>& table = sequence.tables[group];
  if (tail >= table.size() || table[tail] == kNoPage) return false;
  const PagePool& pool = prefixes_.pages().pool(group);
  return pool.num_holders(table[tail]) > 1 || pool.node(table[tail]) != kNoNode;
}

bool CacheManager::reserve(SequencePages& sequence, int count, std::vector<PageCopy>& copies) {
  const int num_pages = pages_for(sequence.num_tokens + count);
  uint64_t needed = 0;
  for (int g = 0; g < num_groups(); ++g) {
    const int missing = std::max(0, num_pages - static_cast<int>(sequence.tables[g].size()));
    needed += static_cast<uint64_t>(missing + tail_is_immutable(sequence, g)) * page_bytes(g);
  }
  if (needed == 0) return true;
  if (used_bytes() + needed > budget_bytes()) return false;

  // All pages first, then the tables: a refusal on the way leaves the sequence as it was.
  for (std::vector<PageId>& pages : fresh_) pages.clear();
  const size_t num_copies = copies.size();
  for (int g = 0; g < num_groups(); ++g) {
    const int missing = std::max(0, num_pages - static_cast<int>(sequence.tables[g].size()));
    for (int i = 0; i < missing + tail_is_immutable(sequence, g); ++i) {
      const PageId page = prefixes_.allocate(g, sequence.scope, copies);
      if (page == kNoPage) {
        for (int h = 0; h <= g; ++h) {
          for (PageId taken : fresh_[h]) prefixes_.release_unwritten(h, taken);
        }
        undo_copies(copies, num_copies);
        return false;
      }
      fresh_[g].push_back(page);
    }
  }
  for (int g = 0; g < num_groups(); ++g) {
    std::vector<PageId>& table = sequence.tables[g];
    if (tail_is_immutable(sequence, g)) {
      PageId& tail = table[sequence.num_tokens / page_len_];
      const PageId own = fresh_[g].back();
      fresh_[g].pop_back();
      plan_copy({g, tail, own}, copies);
      prefixes_.release(g, tail);
      tail = own;
    }
    table.insert(table.end(), fresh_[g].begin(), fresh_[g].end());
  }
  peak_bytes_ = std::max(peak_bytes_, used_bytes());
  return true;
}

bool CacheManager::reserve_restored(SequencePages& sequence, int num_tokens,
                                    std::vector<PageCopy>& copies) {
  KVI_CHECK(sequence.num_tokens == 0 && num_tokens > 0);
  for (int g = 0; g < num_groups(); ++g) {
    sequence.first_held[g] = prefixes_.first_needed_page(g, num_tokens);
    sequence.tables[g].assign(static_cast<size_t>(sequence.first_held[g]), kNoPage);
  }
  if (reserve(sequence, num_tokens, copies)) return true;
  release(sequence);
  return false;
}

uint64_t CacheManager::restored_bytes(int num_tokens) const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) {
    const int num_pages = pages_for(num_tokens) - prefixes_.first_needed_page(g, num_tokens);
    bytes += static_cast<uint64_t>(num_pages) * page_bytes(g);
  }
  return bytes;
}

void CacheManager::finish_copies(std::span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) {
    if (copy.from != kNoPage) {
      prefixes_.end_flight(copy.group, copy.from);
      const PagePool& pool = prefixes_.pages().pool(copy.group);
      const bool is_indexed = pool.node(copy.to) != kNoNode;  // moved there as it was
      if (is_indexed || pool.state(copy.to) == PageState::reserved) {
        prefixes_.pages().set_state(copy.group, copy.to,
                                    is_indexed ? PageState::committed : PageState::writing);
      }
    }
    prefixes_.end_flight(copy.group, copy.to);
  }
}

void CacheManager::plan_copy(const PageCopy& copy, std::vector<PageCopy>& copies) {
  prefixes_.begin_flight(copy.group, copy.from);
  prefixes_.begin_flight(copy.group, copy.to);
  copies.push_back(copy);
}

void CacheManager::undo_copies(std::vector<PageCopy>& copies, size_t first) {
  for (; copies.size() > first; copies.pop_back()) {
    const PageCopy& copy = copies.back();
    if (copy.from != kNoPage) prefixes_.end_flight(copy.group, copy.from);
    prefixes_.end_flight(copy.group, copy.to);
  }
}

void CacheManager::commit(SequencePages& sequence, int count, std::span<const TokenId> tokens) {
  const int first_written = sequence.num_tokens / page_len_;
  sequence.num_tokens += count;
  for (int g = 0; g < num_groups(); ++g) {
    const std::vector<PageId>& table = sequence.tables[g];
    KVI_CHECK(pages_for(sequence.num_tokens) <= static_cast<int>(table.size()));
    for (int page = first_written; page < pages_for(sequence.num_tokens); ++page) {
      // Restored sequences lack the pages before their windows.
      if (table[page] != kNoPage) prefixes_.pages().set_state(g, table[page], PageState::writing);
    }
  }
  if (sequence.is_indexed && !tokens.empty()) index_whole_pages(sequence, tokens);
  slide_windows(sequence);
}

void CacheManager::move_node(SequencePages& sequence, NodeId node, int num_indexed) {
  prefixes_.ref(node);
  prefixes_.unref(sequence.node);
  sequence.node = node;
  sequence.num_indexed = num_indexed;
}

void CacheManager::index_whole_pages(SequencePages& sequence, std::span<const TokenId> tokens) {
  while ((sequence.num_indexed + 1) * page_len_ <= sequence.num_tokens) {
    const int page = sequence.num_indexed;
    const auto page_tokens = tokens.subspan(static_cast<size_t>(page) * page_len_, page_len_);
    const NodeId node = prefixes_.add_node(sequence.node, sequence.scope, page_tokens);
    move_node(sequence, node, page + 1);
    for (int g = 0; g < num_groups(); ++g) {
      PageId& own = sequence.tables[g][page];
      if (own == kNoPage) continue;
      const PageId indexed = prefixes_.index_page(node, g, own);
      if (indexed == own) continue;
      // Somebody computed the same: one copy is enough.
      prefixes_.retain(g, indexed);
      prefixes_.release(g, own);
      own = indexed;
    }
  }
  keep_tail(sequence, tokens);
}

void CacheManager::keep_tail(SequencePages& sequence, std::span<const TokenId> tokens) {
  const auto tail = tokens.first(static_cast<size_t>(sequence.num_tokens))
                        .subspan(static_cast<size_t>(sequence.num_indexed) * page_len_);
  sequence.tail.assign(tail.begin(), tail.end());
}

void CacheManager::slide_windows(SequencePages& sequence) {
  for (int g = 0; g < num_groups(); ++g) {
    if (groups()[g].window == 0) continue;
    int& first_held = sequence.first_held[g];
    for (; first_held < prefixes_.first_needed_page(g, sequence.num_tokens); ++first_held) {
      PageId& page = sequence.tables[g][first_held];
      if (page != kNoPage) prefixes_.release(g, page);
      page = kNoPage;
    }
  }
}

// ---- prefixes ----

void CacheManager::attach(SequencePages& sequence, std::span<const TokenId> tokens, int limit,
                          std::vector<PageCopy>& copies) {
  attach(sequence, tokens, limit, &copies);
}

void CacheManager::attach_whole_pages(SequencePages& sequence, std::span<const TokenId> tokens) {
  attach(sequence, tokens, static_cast<int>(tokens.size()), nullptr);
}

// copies: nullptr where only whole pages are wanted.
void CacheManager::attach(SequencePages& sequence, std::span<const TokenId> tokens, int limit,
                          std::vector<PageCopy>* copies) {
  limit = std::min<int>(limit, static_cast<int>(tokens.size()));
  if (!sequence.is_indexed && sequence.pinned.empty()) return;
  if (!is_ready(sequence) || limit <= sequence.num_tokens) return;
  CacheStats& stats = prefixes_.stats();
  stats.queried_tokens += static_cast<uint64_t>(limit - sequence.num_tokens);
  for (bool in_lower_tiers : {true, false}) {
    PrefixMatch match = prefixes_.match(sequence, tokens, limit, in_lower_tiers);
    if (copies == nullptr) match.partial = {};
    if (match.num_tokens(page_len_) <= sequence.num_tokens) break;
    if (attach_match(sequence, match, copies)) break;
  }
  keep_tail(sequence, tokens);
  unpin_from(sequence, 0);
}

// Keeps a node and its device pages, while room is made for others.
class CacheManager::HeldNode {
 public:
  HeldNode(PrefixCache& prefixes, NodeId node) : prefixes_(prefixes), node_(node) {
    if (node_ == kNoNode) return;
    prefixes_.ref(node_);
    for (int g = 0; g < static_cast<int>(prefixes_.groups().size()); ++g) {
      pages_.push_back(prefixes_.tree().place(node_, TierId::device, g));
      if (pages_.back() != PrefixTree::kNowhere) prefixes_.retain(g, pages_.back());
    }
  }
  ~HeldNode() {
    if (node_ == kNoNode) return;
    for (int g = 0; g < static_cast<int>(pages_.size()); ++g) {
      if (pages_[g] != PrefixTree::kNowhere) prefixes_.release(g, pages_[g]);
    }
    prefixes_.unref(node_);
  }
  HeldNode(const HeldNode&) = delete;
  HeldNode& operator=(const HeldNode&) = delete;

 private:
  PrefixCache& prefixes_;
  const NodeId node_;
  std::vector<PageId> pages_;
};

// False: there is no room for what is to be loaded; nothing has changed.
bool CacheManager::attach_match(SequencePages& sequence, const PrefixMatch& match,
                                std::vector<PageCopy>* copies) {
  struct Found {
    int group;
    int index;
    NodeId node;
    PageId page;  // kNoPage: to be loaded
  };
  // Hits are held before anything is allocated, so that nothing of them is evicted for it.
  std::vector<Found> found;
  for (const NodeId node : match.path) prefixes_.hit(node);
  const HeldNode partial(prefixes_, match.partial.node);
  for (int g = 0; g < num_groups(); ++g) {
    const int first_needed = prefixes_.first_needed_page(g, match.num_pages * page_len_);
    for (int page = std::max(match.first, first_needed); page < match.num_pages; ++page) {
      const NodeId node = match.path[page - match.first];
      const PageId there = prefixes_.tree().place(node, TierId::device, g);
      if (there != PrefixTree::kNowhere) prefixes_.retain(g, there);
      found.push_back({g, page, node, there == PrefixTree::kNowhere ? kNoPage : there});
    }
  }
  std::vector<PageCopy> zeroing;
  for (Found& f : found) {
    if (f.page != kNoPage) continue;
    // A load overwrites all of the page: there is nothing to zero.
    f.page = prefixes_.allocate(f.group, sequence.scope, zeroing);
    if (f.page != kNoPage) {
      prefixes_.load(f.node, f.group, f.page);
      continue;
    }
    for (const Found& held : found) {
      if (held.page != kNoPage) prefixes_.release(held.group, held.page);
    }
    undo_copies(zeroing, 0);
    return false;
  }
  undo_copies(zeroing, 0);

  CacheStats& stats = prefixes_.stats();
  for (const NodeId node : match.path) {
    int tier = 0;
    for (; tier < kNumTiers - 1; ++tier) {
      if (prefixes_.tree().place(node, static_cast<TierId>(tier), 0) != PrefixTree::kNowhere) break;
    }
    stats.hit_tokens[tier] += page_len_;
    if (tier > 0) sequence.loaded_tokens[tier - 1] += page_len_;
  }
  if (match.num_pages > sequence.num_indexed) {
    drop_pages_from(sequence, match.first);
    for (std::vector<PageId>& table : sequence.tables) table.resize(match.num_pages, kNoPage);
    for (const Found& f : found) {
      sequence.tables[f.group][f.index] = f.page;
      prefixes_.index_page(f.node, f.group, f.page);
      if (prefixes_.pages().pool(f.group).state(f.page) != PageState::committed)
        sequence.loading.push_back({f.group, f.index});
    }
    sequence.num_tokens = match.num_pages * page_len_;
    move_node(sequence, match.path.back(), match.num_pages);
    // Pages of its own before the needed ones; of the new ones, none came.
    slide_windows(sequence);
    // Where the text now takes its own way, others may do the same.
    prefixes_.mark_boundary(sequence.node);
  }
  if (match.partial.num_tokens > 0) attach_partial(sequence, match.partial, *copies);
  peak_bytes_ = std::max(peak_bytes_, used_bytes());
  return true;
}

// The start of a page, copied: the rest of it is going to differ. Its node is held.
void CacheManager::attach_partial(SequencePages& sequence, const PrefixTree::Partial& partial,
                                  std::vector<PageCopy>& copies) {
  if (sequence.num_indexed * page_len_ + partial.num_tokens <= sequence.num_tokens) return;
  const size_t index = static_cast<size_t>(sequence.num_indexed);
  const size_t num_copies = copies.size();
  std::vector<PageId> sources, own;
  for (int g = 0; g < num_groups(); ++g) {
    // One that is only now being loaded cannot be copied yet.
    const PageId source = prefixes_.tree().place(partial.node, TierId::device, g);
    const bool is_there = source != PrefixTree::kNowhere &&
                          prefixes_.pages().pool(g).state(source) == PageState::committed;
    sources.push_back(is_there ? source : PrefixTree::kNowhere);
  }
  for (int g = 0; g < num_groups(); ++g) {
    // What is loaded is overwritten as a whole; zeroing it meanwhile would spoil it.
    std::vector<PageCopy> unwanted;
    const bool is_loaded = sources[g] == PrefixTree::kNowhere;
    own.push_back(prefixes_.allocate(g, sequence.scope, is_loaded ? unwanted : copies));
    undo_copies(unwanted, 0);
    if (own.back() == kNoPage) break;
  }
  const bool has_room = own.back() != kNoPage;
  int slowest = 0;  // tier that a page comes from
  for (int g = 0; g < num_groups(); ++g) {
    if (!has_room) {
      if (g < static_cast<int>(own.size()) && own[g] != kNoPage)
        prefixes_.release_unwritten(g, own[g]);
    } else if (sources[g] != PrefixTree::kNowhere) {
      plan_copy({g, sources[g], own[g]}, copies);
    } else {
      const LowerTier* host = prefixes_.tier(TierId::host);
      const bool in_host = host != nullptr && host->is_readable(partial.node, g);
      slowest = std::max(slowest, static_cast<int>(in_host ? TierId::host : TierId::disk));
      prefixes_.load(partial.node, g, own[g]);
    }
  }
  if (!has_room) undo_copies(copies, num_copies);
  if (has_room) {
    drop_pages_from(sequence, sequence.num_indexed);
    for (int g = 0; g < num_groups(); ++g) {
      sequence.tables[g].push_back(own[g]);
      if (sources[g] == PrefixTree::kNowhere)
        sequence.loading.push_back({g, static_cast<int>(index)});
    }
    sequence.num_tokens = sequence.num_indexed * page_len_ + partial.num_tokens;
    prefixes_.stats().hit_tokens[slowest] += static_cast<uint64_t>(partial.num_tokens);
    if (slowest > 0) sequence.loaded_tokens[slowest - 1] += partial.num_tokens;
    prefixes_.hit(partial.node);
  }
}

bool CacheManager::is_ready(SequencePages& sequence) {
  int failed = INT32_MAX;
  std::erase_if(sequence.loading, [&](const PageInTable& loading) {
    const PageId page = sequence.tables[loading.group][loading.index];
    const PageState state = prefixes_.pages().pool(loading.group).state(page);
    if (state == PageState::failed) failed = std::min(failed, loading.index);
    return state == PageState::committed || state == PageState::failed;
  });
  if (failed != INT32_MAX) {
    // What comes after the lost page is of no use to this sequence any more.
    truncate(sequence, failed * page_len_);
  }
  return sequence.loading.empty();
}

void CacheManager::index_tail(SequencePages& sequence) {
  if (sequence.is_indexed && sequence.loading.empty()) index_partial_page(sequence);
}

NodeId CacheManager::index_partial_page(SequencePages& sequence) {
  const int count = sequence.num_tokens - sequence.num_indexed * page_len_;
  if (count <= 0 || count >= page_len_ || static_cast<int>(sequence.tail.size()) < count)
    return kNoNode;
  const size_t index = static_cast<size_t>(sequence.num_indexed);
  for (int g = 0; g < num_groups(); ++g) {
    const PageId page = sequence.tables[g].at(index);
    if (page == kNoPage) return kNoNode;
    const PagePool& pool = prefixes_.pages().pool(g);
    // Somebody else's page is, or will be, indexed by them; what is still to be copied is not to be read yet.
    if (pool.num_holders(page) > 1 || pool.node(page) != kNoNode ||
        pool.state(page) != PageState::writing || pool.is_in_flight(page))
      return kNoNode;
  }
  const NodeId node = prefixes_.add_node(sequence.node, sequence.scope,
                                         std::span(sequence.tail).first(count));
  for (int g = 0; g < num_groups(); ++g) prefixes_.index_page(node, g, sequence.tables[g][index]);
  return node;
}

void CacheManager::park(SequencePages& sequence) {
  if (sequence.is_indexed && sequence.loading.empty() && sequence.num_tokens > 0) {
    index_partial_page(sequence);
    mark_boundary(sequence);
  }
  release(sequence);
}

bool CacheManager::suspend(SequencePages& sequence, std::span<const TokenId> tokens, TierId tier_id,
                           uint64_t* needed) {
  LowerTier* tier = prefixes_.tier(tier_id);
  KVI_CHECK(tier != nullptr);
  // What has not come yet, for a request that has ended, is left where it is, and computed again if need be.
  if (!is_ready(sequence)) {
    int arrived = INT32_MAX;
    for (const PageInTable& l : sequence.loading) arrived = std::min(arrived, l.index);
    truncate(sequence, arrived * page_len_);
  }
  if (!sequence.is_indexed) {
    // Found again by this sequence alone, and by its forks, whose pages are the same.
    int scope = -1;
    for (int g = 0; g < num_groups(); ++g) {
      for (const PageId page : sequence.tables[g]) {
        const NodeId node = page == kNoPage ? kNoNode : prefixes_.pages().pool(g).node(page);
        if (node != kNoNode) scope = prefixes_.tree().scope(node);
      }
    }
    sequence.scope = scope >= 0 ? scope : prefixes_.make_private_scope();
    sequence.reads_shared = false;
  }
  if (!tokens.empty()) index_whole_pages(sequence, tokens);
  std::vector<NodeId> nodes;
  for (NodeId node = sequence.node; node != PrefixTree::kRoot; node = prefixes_.tree().parent(node))
    nodes.push_back(node);
  std::ranges::reverse(nodes);
  const NodeId partial = index_partial_page(sequence);
  if (partial != kNoNode) nodes.push_back(partial);

  // What is there already is pinned first, so that making room takes nothing of it.
  std::vector<std::pair<NodeId, int>> pinned;
  const auto each = [&](const auto& visit) {
    for (const NodeId node : nodes) {
      for (int g = 0; g < num_groups(); ++g) {
        const bool is_needed = prefixes_.tree().depth(node) >=
                               prefixes_.first_needed_page(g, sequence.num_tokens);
        if (is_needed && !visit(node, g)) return false;
      }
    }
    return true;
  };
  const auto pin = [&](NodeId node, int g) {
    tier->pin(node, g);
    pinned.emplace_back(node, g);
  };
  *needed = 0;
  each([&](NodeId node, int g) {
    if (prefixes_.tree().place(node, tier_id, g) != PrefixTree::kNowhere)
      pin(node, g);
    else
      *needed += page_bytes(g);
    return true;
  });
  const bool fits = tier->pinned_bytes() + *needed <= tier->budget_bytes() &&
                    each([&](NodeId node, int g) {
                      if (prefixes_.tree().place(node, tier_id, g) != PrefixTree::kNowhere)
                        return true;
                      if (!prefixes_.store(node, g, tier_id)) return false;
                      pin(node, g);
                      return true;
                    });
  if (!fits) {
    for (const auto& [node, g] : pinned) tier->unpin(node, g);
    return false;
  }
  for (const NodeId node : nodes) prefixes_.ref(node);
  mark_boundary(sequence);
  release(sequence);
  sequence.pinned = std::move(nodes);
  sequence.pinned_tier = tier_id;
  return true;
}

bool CacheManager::compact(SequencePages& sequence, std::vector<PageCopy>& copies) {
  prefixes_.trim(UINT64_MAX);
  const size_t num_copies = copies.size();
  for (int g = 0; g < num_groups(); ++g) {
    std::vector<PageId>& table = sequence.tables[g];
    for (size_t i = static_cast<size_t>(sequence.first_held[g]); i < table.size(); ++i) {
      const PageId to = prefixes_.take_lower_page(g, table[i], sequence.scope);
      if (to == kNoPage) continue;
      const PageId from = table[i];
      plan_copy({g, from, to}, copies);
      prefixes_.replace_page(g, from, to);
      prefixes_.release(g, from);
      table[i] = to;
    }
  }
  return copies.size() > num_copies;
}

void CacheManager::unpin_from(SequencePages& sequence, int first) {
  while (!sequence.pinned.empty() && prefixes_.tree().depth(sequence.pinned.back()) >= first) {
    const NodeId node = sequence.pinned.back();
    sequence.pinned.pop_back();
    for (int g = 0; g < num_groups(); ++g) prefixes_.tier(sequence.pinned_tier)->unpin(node, g);
    prefixes_.unref(node);
  }
}

void CacheManager::mark_boundary(const SequencePages& sequence, Band band) {
  if (sequence.node != PrefixTree::kRoot) prefixes_.mark_boundary(sequence.node, band);
}

// ---- truncate, fork, release ----

void CacheManager::drop_pages_from(SequencePages& sequence, int first) {
  for (int g = 0; g < num_groups(); ++g) {
    std::vector<PageId>& table = sequence.tables[g];
    // The last first, so that of what stays cached the end is the oldest.
    while (static_cast<int>(table.size()) > first) {
      if (table.back() != kNoPage) prefixes_.release(g, table.back());
      table.pop_back();
    }
    sequence.first_held[g] = std::min(sequence.first_held[g], first);
  }
  std::erase_if(sequence.loading,
                [&](const PageInTable& loading) { return loading.index >= first; });
}

void CacheManager::truncate(SequencePages& sequence, int num_tokens) {
  if (!sequence.pinned.empty()) return unpin_from(sequence, pages_for(num_tokens));
  num_tokens = std::min(num_tokens, sequence.num_tokens);
  for (int g = 0; g < num_groups(); ++g) {
    const int first_needed = std::max(0, num_tokens - groups()[g].window + 1);
    const bool window_is_gone = sequence.first_held[g] * page_len_ > first_needed;
    if (groups()[g].window > 0 && num_tokens > 0 && window_is_gone) num_tokens = 0;
  }
  if (num_tokens == 0) return release(sequence);
  drop_pages_from(sequence, pages_for(num_tokens));
  sequence.num_tokens = num_tokens;
  while (sequence.num_indexed * page_len_ > num_tokens) {
    const auto page_tokens = prefixes_.tree().tokens(sequence.node);
    sequence.tail.assign(page_tokens.begin(), page_tokens.end());
    move_node(sequence, prefixes_.tree().parent(sequence.node), sequence.num_indexed - 1);
  }
  const size_t num_tail = static_cast<size_t>(num_tokens - sequence.num_indexed * page_len_);
  sequence.tail.resize(std::min(sequence.tail.size(), num_tail));
}

SequencePages CacheManager::fork(const SequencePages& sequence) {
  SequencePages copy = sequence;
  for (int g = 0; g < num_groups(); ++g) {
    copy.tables[g].resize(std::min<size_t>(copy.tables[g].size(), pages_for(sequence.num_tokens)));
    for (PageId page : copy.tables[g]) {
      if (page != kNoPage) prefixes_.retain(g, page);
    }
  }
  prefixes_.ref(copy.node);
  for (const NodeId node : copy.pinned) {
    prefixes_.ref(node);
    for (int g = 0; g < num_groups(); ++g) {
      if (prefixes_.tree().place(node, copy.pinned_tier, g) != PrefixTree::kNowhere)
        prefixes_.tier(copy.pinned_tier)->pin(node, g);
    }
  }
  return copy;
}

void CacheManager::release(SequencePages& sequence) {
  unpin_from(sequence, 0);
  drop_pages_from(sequence, 0);
  for (int& first : sequence.first_held) first = 0;
  sequence.loading.clear();
  sequence.tail.clear();
  sequence.num_tokens = 0;
  sequence.loaded_tokens = {};
  if (sequence.node != PrefixTree::kRoot) move_node(sequence, PrefixTree::kRoot, 0);
}

// ---- how much it takes ----

uint64_t CacheManager::bytes_to_reach(const SequencePages& sequence, int num_tokens,
                                      int chunk) const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) {
    const int held = static_cast<int>(sequence.tables[g].size()) - sequence.first_held[g];
    int most = pages_for(num_tokens) - sequence.first_held[g];
    if (groups()[g].window > 0) most = std::min(most, pages_for(groups()[g].window + chunk) + 1);
    bytes += static_cast<uint64_t>(std::max(0, most - held) + tail_is_immutable(sequence, g)) *
             page_bytes(g);
  }
  return bytes;
}

uint64_t CacheManager::bytes_to_reach_alone(const SequencePages& sequence, int num_tokens,
                                            int chunk) const {
  uint64_t bytes = peak_bytes_alone(sequence, num_tokens, chunk) - held_bytes(sequence);
  for (int g = 0; g < num_groups(); ++g) {
    bytes += tail_is_immutable(sequence, g) * page_bytes(g);
  }
  return bytes;
}

uint64_t CacheManager::peak_bytes_alone(const SequencePages& sequence, int num_tokens,
                                        int chunk) const {
  return peak_bytes(sequence, num_tokens, chunk, 1);
}

uint64_t CacheManager::least_budget_for(const SequencePages& sequence, int num_tokens,
                                        int chunk) const {
  return peak_bytes(sequence, num_tokens, chunk, prefixes_.pages().granule_bytes());
}

uint64_t CacheManager::peak_bytes(const SequencePages& sequence, int num_tokens, int chunk,
                                  uint64_t granule) const {
  uint64_t peak = 0;
  int first = sequence.num_tokens;
  do {
    const int end_page = pages_for(std::min(num_tokens, first + chunk));
    uint64_t bytes = 0;
    for (int g = 0; g < num_groups(); ++g) {
      const int end = std::max(end_page, static_cast<int>(sequence.tables[g].size()));
      const int begin = std::max(sequence.first_held[g], prefixes_.first_needed_page(g, first));
      const uint64_t group_bytes = static_cast<uint64_t>(end - begin) * page_bytes(g);
      bytes += (group_bytes + granule - 1) / granule * granule;
    }
    peak = std::max(peak, bytes);
    first += chunk;
  } while (first < num_tokens);
  return peak;
}

uint64_t CacheManager::held_bytes(const SequencePages& sequence) const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) {
    bytes += (sequence.tables[g].size() - sequence.first_held[g]) * page_bytes(g);
  }
  return bytes;
}

}  // namespace kvi
