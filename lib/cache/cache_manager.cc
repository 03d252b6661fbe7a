#include "cache/cache_manager.h"

#include <algorithm>

#include "base/error.h"
#include "base/short_memory.h"
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
  Undo give_back([&] {
    for (int g = 0; g < num_groups(); ++g) {
      for (PageId taken : fresh_[g]) prefixes_.release_unwritten(g, taken);
    }
    undo_copies(copies, num_copies);
  });
  for (int g = 0; g < num_groups(); ++g) {
    const int missing = std::max(0, num_pages - static_cast<int>(sequence.tables[g].size()));
    const int num_wanted = missing + tail_is_immutable(sequence, g);
    reserve_more(fresh_[g], static_cast<size_t>(num_wanted));
    reserve_more(sequence.tables[g], static_cast<size_t>(missing));
    for (int i = 0; i < num_wanted; ++i) {
      const PageId page = prefixes_.allocate(g, sequence.scope, copies);
      if (page == kNoPage) return false;
      fresh_[g].push_back(page);
    }
  }
  reserve_more(copies, static_cast<size_t>(num_groups()));
  give_back.keep();
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
    const int first = prefixes_.first_needed_page(g, num_tokens);
    sequence.tables[g].assign(static_cast<size_t>(first), kNoPage);
    sequence.first_held[g] = first;
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
  if (sequence.is_indexed && !tokens.empty()) {
    index_whole_pages(sequence, tokens);  // what is left out now goes in with the next commit
  }
  slide_windows(sequence);
}

void CacheManager::move_node(SequencePages& sequence, NodeId node, int num_indexed) {
  prefixes_.ref(node);
  prefixes_.unref(sequence.node);
  sequence.node = node;
  sequence.num_indexed = num_indexed;
}

bool CacheManager::index_whole_pages(SequencePages& sequence, std::span<const TokenId> tokens) {
  const bool all = try_to([&] { index_pages(sequence, tokens); });
  keep_tail(sequence, tokens);
  return all;
}

void CacheManager::index_pages(SequencePages& sequence, std::span<const TokenId> tokens) {
  while ((sequence.num_indexed + 1) * page_len_ <= sequence.num_tokens) {
    const int page = sequence.num_indexed;
    const auto page_tokens = tokens.subspan(static_cast<size_t>(page) * page_len_, page_len_);
    const NodeId node = prefixes_.add_node(sequence.node, sequence.scope, page_tokens);
    prefixes_.ref(node);
    const Undo unref([&] { prefixes_.unref(node); });
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
    move_node(sequence, node, page + 1);
  }
}

void CacheManager::keep_tail(SequencePages& sequence, std::span<const TokenId> tokens) {
  const auto tail = tokens.first(static_cast<size_t>(sequence.num_tokens))
                        .subspan(static_cast<size_t>(sequence.num_indexed) * page_len_);
  set_tail(sequence, tail);
}

// An empty tail is not found by others.
void CacheManager::set_tail(SequencePages& sequence, std::span<const TokenId> tail) {
  sequence.tail.clear();
  try_to([&] { sequence.tail.assign(tail.begin(), tail.end()); });
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

bool CacheManager::compact(SequencePages& sequence, std::vector<PageCopy>& copies) {
  prefixes_.trim(UINT64_MAX);
  const size_t num_copies = copies.size();
  size_t num_pages = 0;
  for (const std::vector<PageId>& table : sequence.tables) num_pages += table.size();
  reserve_more(copies, num_pages);
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
    set_tail(sequence, page_tokens);
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
      if (is_needed(node, g, copy.pinned_len)) prefixes_.tier(copy.pinned_tier)->pin(node, g);
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

}  // namespace kvi
