#include "cache/cache_manager.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace kvi {

CacheManager::CacheManager(std::vector<LayerGroup> groups, uint64_t budget_bytes,
                           const ReserveMemory& reserve_memory)
    : groups_(std::move(groups)),
      page_len_(groups_.at(0).layout.page_len),
      budget_bytes_(budget_bytes) {
  uint64_t least = 0;
  for (const LayerGroup& group : groups_) {
    KVI_CHECK(group.layout.page_len == page_len_ && group.layout.page_bytes > 0);
    least += group.layout.page_bytes;
  }
  if (budget_bytes < least) {
    throw Error(Status::EXHAUSTED, concat("a KV budget of ", budget_bytes,
                                          " bytes is too small for one page of each layer group (",
                                          least, " bytes); raise kv_budget_bytes"))
        .amounts(least, budget_bytes);
  }
  for (const LayerGroup& group : groups_) {
    const uint64_t num_pages = std::min<uint64_t>(budget_bytes / group.layout.page_bytes, 1 << 30);
    memory_.push_back(
        {PagePool(static_cast<int>(num_pages)),
         PageRange(reserve_memory(num_pages * group.layout.page_bytes), group.layout.page_bytes)});
  }
  fresh_.resize(groups_.size());
}

SequencePages CacheManager::make_sequence() const {
  SequencePages sequence;
  sequence.tables.resize(groups_.size());
  sequence.first_held.resize(groups_.size(), 0);
  return sequence;
}

bool CacheManager::tail_is_shared(const SequencePages& sequence, int group) const {
  const size_t tail = static_cast<size_t>(sequence.num_tokens / page_len_);
  const std::vector<PageId>& table = sequence.tables[group];
  return tail < table.size() && memory_[group].pool.num_holders(table[tail]) > 1;
}

bool CacheManager::reserve(SequencePages& sequence, int count, std::vector<PageCopy>& copies) {
  const int num_pages = pages_for(sequence.num_tokens + count);
  uint64_t needed = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int missing = std::max(0, num_pages - static_cast<int>(sequence.tables[g].size()));
    needed += static_cast<uint64_t>(missing + tail_is_shared(sequence, g)) *
              groups_[g].layout.page_bytes;
  }
  if (needed > budget_bytes_ - used_bytes_) return false;

  // All pages first, then the tables: a refusal on the way leaves the sequence as it was.
  for (std::vector<PageId>& pages : fresh_) pages.clear();
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int missing = std::max(0, num_pages - static_cast<int>(sequence.tables[g].size()));
    for (int i = 0; i < missing + tail_is_shared(sequence, g); ++i) {
      const PageId page = take_page(g);
      if (page == kNoPage) {
        for (size_t h = 0; h <= g; ++h) {
          for (PageId taken : fresh_[h]) drop_page(h, taken);
        }
        return false;
      }
      fresh_[g].push_back(page);
    }
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<PageId>& table = sequence.tables[g];
    if (tail_is_shared(sequence, g)) {
      PageId& tail = table[sequence.num_tokens / page_len_];
      copies.push_back({static_cast<int>(g), tail, fresh_[g].back()});
      drop_page(g, tail);
      tail = fresh_[g].back();
      fresh_[g].pop_back();
    }
    table.insert(table.end(), fresh_[g].begin(), fresh_[g].end());
  }
  return true;
}

void CacheManager::commit(SequencePages& sequence, int count) {
  sequence.num_tokens += count;
  for (const std::vector<PageId>& table : sequence.tables) {
    KVI_CHECK(pages_for(sequence.num_tokens) <= static_cast<int>(table.size()));
  }
  slide_windows(sequence);
}

void CacheManager::slide_windows(SequencePages& sequence) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (groups_[g].window == 0) continue;
    int& first_held = sequence.first_held[g];
    while (first_held < first_page(g, sequence.num_tokens)) {
      PageId& page = sequence.tables[g][first_held];
      drop_page(g, page);
      page = kNoPage;
      ++first_held;
    }
  }
}

// The last computed position's own window stays, so that it can be computed again.
int CacheManager::first_page(int group, int num_tokens) const {
  const int window = groups_[group].window;
  return window == 0 ? 0 : std::max(0, num_tokens - window) / page_len_;
}

void CacheManager::truncate(SequencePages& sequence, int num_tokens) {
  num_tokens = std::min(num_tokens, sequence.num_tokens);
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int first_needed = std::max(0, num_tokens - groups_[g].window + 1);
    const bool window_is_gone = sequence.first_held[g] * page_len_ > first_needed;
    if (groups_[g].window > 0 && num_tokens > 0 && window_is_gone) num_tokens = 0;
  }
  if (num_tokens == 0) return release(sequence);
  for (size_t g = 0; g < groups_.size(); ++g) {
    std::vector<PageId>& table = sequence.tables[g];
    while (static_cast<int>(table.size()) > pages_for(num_tokens)) {
      drop_page(g, table.back());
      table.pop_back();
    }
  }
  sequence.num_tokens = num_tokens;
}

SequencePages CacheManager::fork(const SequencePages& sequence) {
  SequencePages copy = sequence;
  for (size_t g = 0; g < groups_.size(); ++g) {
    copy.tables[g].resize(std::min<size_t>(copy.tables[g].size(), pages_for(sequence.num_tokens)));
    for (PageId page : copy.tables[g]) {
      if (page != kNoPage) memory_[g].pool.retain(page);
    }
  }
  return copy;
}

void CacheManager::release(SequencePages& sequence) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (PageId page : sequence.tables[g]) {
      if (page != kNoPage) drop_page(g, page);
    }
    sequence.tables[g].clear();
    sequence.first_held[g] = 0;
  }
  sequence.num_tokens = 0;
}

uint64_t CacheManager::bytes_to_reach(const SequencePages& sequence, int num_tokens,
                                      int chunk) const {
  uint64_t bytes = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    int held = static_cast<int>(sequence.tables[g].size()) - sequence.first_held[g];
    int most = pages_for(num_tokens) - sequence.first_held[g];
    if (groups_[g].window > 0) most = std::min(most, pages_for(groups_[g].window + chunk) + 1);
    bytes += static_cast<uint64_t>(std::max(0, most - held) + tail_is_shared(sequence, g)) *
             groups_[g].layout.page_bytes;
  }
  return bytes;
}

uint64_t CacheManager::bytes_to_reach_alone(const SequencePages& sequence, int num_tokens,
                                            int chunk) const {
  uint64_t bytes = peak_bytes_alone(sequence, num_tokens, chunk) - held_bytes(sequence);
  for (size_t g = 0; g < groups_.size(); ++g) {
    bytes += tail_is_shared(sequence, g) * groups_[g].layout.page_bytes;
  }
  return bytes;
}

uint64_t CacheManager::peak_bytes_alone(const SequencePages& sequence, int num_tokens,
                                        int chunk) const {
  uint64_t peak = held_bytes(sequence);
  for (int first = sequence.num_tokens; first < num_tokens; first += chunk) {
    const int end_page = pages_for(std::min(num_tokens, first + chunk));
    uint64_t bytes = 0;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int end = std::max(end_page, static_cast<int>(sequence.tables[g].size()));
      bytes += static_cast<uint64_t>(end - std::max(sequence.first_held[g], first_page(g, first))) *
               groups_[g].layout.page_bytes;
    }
    peak = std::max(peak, bytes);
  }
  return peak;
}

uint64_t CacheManager::held_bytes(const SequencePages& sequence) const {
  uint64_t bytes = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    bytes += (sequence.tables[g].size() - sequence.first_held[g]) * groups_[g].layout.page_bytes;
  }
  return bytes;
}

PageId CacheManager::take_page(int group) {
  const std::optional<PageId> page = memory_[group].pool.allocate();
  KVI_CHECK(page.has_value());  // the budget was checked, and ids suffice for all of it
  used_bytes_ += groups_[group].layout.page_bytes;
  if (!make_resident(group, *page)) {
    drop_page(group, *page);
    return kNoPage;
  }
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return *page;
}

// Held pages fit the budget, so where resident ones would not, a free one can be given back.
bool CacheManager::make_resident(int group, PageId page) {
  if (memory_[group].range.is_resident(page)) return true;
  const uint64_t page_bytes = groups_[group].layout.page_bytes;
  for (size_t g = 0; resident_bytes_ + page_bytes > budget_bytes_ && g < groups_.size();) {
    GroupMemory& other = memory_[g];
    const bool has_free = other.range.num_resident() > 0;
    const PageId victim = has_free ? other.range.highest_resident(
                                         [&](PageId p) { return other.pool.num_holders(p) == 0; })
                                   : kNoPage;
    if (victim == kNoPage) {
      ++g;
      continue;
    }
    other.range.decommit(victim);
    resident_bytes_ -= groups_[g].layout.page_bytes;
  }
  if (!memory_[group].range.commit(page)) return false;
  resident_bytes_ += page_bytes;
  return true;
}

void CacheManager::drop_page(int group, PageId page) {
  if (memory_[group].pool.release(page)) used_bytes_ -= groups_[group].layout.page_bytes;
}

void CacheManager::check_invariants() const {
  uint64_t used = 0, resident = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    memory_[g].pool.check_invariants();
    used += static_cast<uint64_t>(memory_[g].pool.num_held()) * groups_[g].layout.page_bytes;
    resident += static_cast<uint64_t>(memory_[g].range.num_resident()) *
                groups_[g].layout.page_bytes;
  }
  KVI_CHECK(used == used_bytes_ && used <= budget_bytes_);
  KVI_CHECK(resident == resident_bytes_ && resident <= budget_bytes_);
}

}  // namespace kvi
