// Decides which pages each sequence holds: reserve, commit, truncate, fork, release.
//
// Every layer group has its own pages; all share one budget in bytes, which is never passed. Pages that
// several sequences hold are immutable: who wants to write into one gets a copy first (a PageCopy, which
// the engine executes). A window group gives back pages that no later query can see.
//
// Not thread-safe: the engine's core guards it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/memory_range.h"
#include "cache/page_pool.h"
#include "cache/page_range.h"
#include "cache/sequence_pages.h"
#include "tensor/layout.h"

namespace kvi {

// Layers whose K and V live and die together.
struct LayerGroup {
  PageLayout layout;
  int window = 0;  // tokens; 0: all
};

using ReserveMemory = std::function<std::unique_ptr<MemoryRange>(uint64_t num_bytes)>;

class CacheManager {
 public:
  // Throws EXHAUSTED when the budget holds less than one page of each group.
  CacheManager(std::vector<LayerGroup> groups, uint64_t budget_bytes,
               const ReserveMemory& reserve_memory);

  SequencePages make_sequence() const;

  // Makes positions [num_tokens, num_tokens + count) writable in all groups, or changes nothing and returns
  // false when the budget does not allow it, or the system refuses memory. copies: appended to.
  bool reserve(SequencePages& sequence, int count, std::vector<PageCopy>& copies);
  // The first `count` reserved positions have been written.
  void commit(SequencePages& sequence, int count);
  // Keeps the first num_tokens tokens; where a window's pages for that point are gone, none.
  void truncate(SequencePages& sequence, int num_tokens);
  SequencePages fork(const SequencePages& sequence);
  void release(SequencePages& sequence);  // leaves it empty

  // Bytes of further pages that computing up to num_tokens takes at its peak, in steps of at most chunk
  // tokens, wherever they are cut.
  uint64_t bytes_to_reach(const SequencePages& sequence, int num_tokens, int chunk) const;
  // The same in steps of just chunk tokens, as a sequence computes that is alone: not a page too much.
  uint64_t bytes_to_reach_alone(const SequencePages& sequence, int num_tokens, int chunk) const;
  // The most that the sequence then holds. What is above the budget fits at no time.
  uint64_t peak_bytes_alone(const SequencePages& sequence, int num_tokens, int chunk) const;

  int page_len() const { return page_len_; }
  const std::vector<LayerGroup>& groups() const { return groups_; }
  std::byte* pages(int group) const { return memory_[group].range.address(); }
  uint64_t budget_bytes() const { return budget_bytes_; }
  uint64_t used_bytes() const { return used_bytes_; }  // in pages that are held
  uint64_t peak_bytes() const { return peak_bytes_; }
  uint64_t resident_bytes() const { return resident_bytes_; }
  uint64_t held_bytes(const SequencePages& sequence) const;

  void check_invariants() const;

 private:
  struct GroupMemory {
    PagePool pool;
    PageRange range;
  };

  PageId take_page(int group);  // kNoPage: the system refuses memory
  bool make_resident(int group, PageId page);
  void drop_page(int group, PageId page);
  void slide_windows(SequencePages& sequence);
  // The first page that is needed once num_tokens are computed.
  int first_page(int group, int num_tokens) const;
  // Whether the page that holds the next position exists and is shared, so that it must be copied.
  bool tail_is_shared(const SequencePages& sequence, int group) const;
  int pages_for(int num_tokens) const { return (num_tokens + page_len_ - 1) / page_len_; }

  const std::vector<LayerGroup> groups_;
  const int page_len_;
  const uint64_t budget_bytes_;
  std::vector<GroupMemory> memory_;  // [group]
  // [group]; of reserve, kept so that steps need not allocate
  std::vector<std::vector<PageId>> fresh_;
  uint64_t used_bytes_ = 0, peak_bytes_ = 0, resident_bytes_ = 0;
};

}  // namespace kvi
