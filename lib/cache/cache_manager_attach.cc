// Of CacheManager: a sequence takes up what the prefix cache has of its tokens.
#include <algorithm>
#include <array>
#include <climits>

#include "base/error.h"
#include "base/short_memory.h"
#include "cache/cache_manager.h"

namespace kvi {

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
    pages_.reserve(prefixes_.groups().size());
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
  std::vector<PageCopy> zeroing;
  for (const NodeId node : match.path) prefixes_.hit(node);
  const HeldNode partial(prefixes_, match.partial.node);
  Undo let_go([&] {
    for (const Found& held : found) {
      if (held.page != kNoPage) prefixes_.release(held.group, held.page);
    }
    undo_copies(zeroing, 0);
  });
  for (int g = 0; g < num_groups(); ++g) {
    const int first_needed = prefixes_.first_needed_page(g, match.num_pages * page_len_);
    for (int page = std::max(match.first, first_needed); page < match.num_pages; ++page) {
      const NodeId node = match.path[page - match.first];
      const PageId there = prefixes_.tree().place(node, TierId::device, g);
      found.push_back({g, page, node, kNoPage});
      if (there == PrefixTree::kNowhere) continue;
      prefixes_.retain(g, there);
      found.back().page = there;
    }
  }
  for (Found& f : found) {
    if (f.page != kNoPage) continue;
    // A load overwrites all of the page: there is nothing to zero.
    f.page = prefixes_.allocate(f.group, sequence.scope, zeroing);
    if (f.page == kNoPage) return false;
    prefixes_.load(f.node, f.group, f.page);
  }
  std::array<int, kNumTiers> tokens_in = {};  // [tier]
  for (const NodeId node : match.path) {
    int tier = 0;
    for (; tier < kNumTiers - 1; ++tier) {
      if (prefixes_.tree().place(node, static_cast<TierId>(tier), 0) != PrefixTree::kNowhere) break;
    }
    tokens_in[tier] += page_len_;
  }
  if (match.num_pages > sequence.num_indexed) {
    for (const Found& f : found) prefixes_.index_page(f.node, f.group, f.page);
    reserve_more(sequence.loading, found.size());
    for (std::vector<PageId>& table : sequence.tables)
      reserve_more(table, static_cast<size_t>(match.num_pages));
  }
  // From here on nothing is allocated.
  let_go.keep();
  undo_copies(zeroing, 0);
  for (int tier = 0; tier < kNumTiers; ++tier) {
    prefixes_.stats().hit_tokens[tier] += static_cast<uint64_t>(tokens_in[tier]);
    if (tier > 0) sequence.loaded_tokens[tier - 1] += tokens_in[tier];
  }
  if (match.num_pages > sequence.num_indexed) {
    drop_pages_from(sequence, match.first);
    for (std::vector<PageId>& table : sequence.tables) table.resize(match.num_pages, kNoPage);
    for (const Found& f : found) {
      sequence.tables[f.group][f.index] = f.page;
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
  if (match.partial.num_tokens > 0)
    try_to([&] { attach_partial(sequence, match.partial, *copies); });
  peak_bytes_ = std::max(peak_bytes_, used_bytes());
  return true;
}

// The start of a page, copied: the rest of it is going to differ. Its node is held. Throws before it changes anything.
void CacheManager::attach_partial(SequencePages& sequence, const PrefixTree::Partial& partial,
                                  std::vector<PageCopy>& copies) {
  if (sequence.num_indexed * page_len_ + partial.num_tokens <= sequence.num_tokens) return;
  const size_t index = static_cast<size_t>(sequence.num_indexed);
  const size_t num_copies = copies.size();
  std::vector<PageId> sources, own;
  sources.reserve(static_cast<size_t>(num_groups()));
  own.reserve(static_cast<size_t>(num_groups()));
  reserve_more(copies, 2 * static_cast<size_t>(num_groups()));
  reserve_more(sequence.loading, static_cast<size_t>(num_groups()));
  for (std::vector<PageId>& table : sequence.tables) reserve_more(table, 1);
  Undo let_go([&] {
    for (int g = 0; g < static_cast<int>(own.size()); ++g) {
      if (own[g] != kNoPage) prefixes_.release_unwritten(g, own[g]);
    }
    undo_copies(copies, num_copies);
  });
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
    if (own.back() == kNoPage) return;
  }
  int slowest = 0;  // tier that a page comes from
  for (int g = 0; g < num_groups(); ++g) {
    if (sources[g] != PrefixTree::kNowhere) {
      plan_copy({g, sources[g], own[g]}, copies);
    } else {
      const LowerTier* host = prefixes_.tier(TierId::host);
      const bool in_host = host != nullptr && host->is_readable(partial.node, g);
      slowest = std::max(slowest, static_cast<int>(in_host ? TierId::host : TierId::disk));
      prefixes_.load(partial.node, g, own[g]);
    }
  }
  let_go.keep();
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

}  // namespace kvi
