// The merge loop that both BPE tokenizers share: the best pair first, the leftmost of equals.
//
// O(n log n) in the number of symbols. Keeps its memory between words; one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvi {

struct BpeSymbol {
  uint32_t begin = 0;  // bytes, in the word
  uint32_t size = 0;   // bytes; 0 after it was merged into its left neighbour
  TokenId id = -1;     // -1: no token
  int32_t previous = -1;
  int32_t next = -1;
};

struct BpeMerge {
  uint32_t rank = 0;  // lower merges first
  TokenId id = -1;    // what the pair becomes
};

class BpeMerger {
 public:
  void clear() { symbols_.clear(); }
  void add(uint32_t begin, uint32_t size, TokenId id) {
    const int32_t index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({begin, size, id, index - 1, -1});
  }

  // find_merge(left, right) -> std::optional<BpeMerge>
  template <typename FindMerge>
  void merge(FindMerge find_merge);

  template <typename Visit>
  void for_each(Visit visit) const {
    if (symbols_.empty()) return;
    for (int32_t i = 0; i >= 0; i = symbols_[i].next) visit(symbols_[i]);
  }

 private:
  // Symbols only ever grow together, so a pair of the left symbol with this total size is still
  // the pair that was meant.
  struct Candidate {
    uint64_t order = 0;  // rank, then position of the left symbol
    uint32_t size = 0;   // bytes of both
    TokenId id = -1;
    bool operator<(const Candidate& other) const { return order > other.order; }  // a min-heap
  };

  template <typename FindMerge>
  bool append_candidate(int32_t left, FindMerge& find_merge) {
    if (left < 0 || symbols_[left].next < 0) return false;
    const BpeSymbol& right = symbols_[symbols_[left].next];
    const std::optional<BpeMerge> merge = find_merge(symbols_[left], right);
    if (!merge) return false;
    candidates_.push_back({uint64_t{merge->rank} << 32 | static_cast<uint32_t>(left),
                           symbols_[left].size + right.size, merge->id});
    return true;
  }

  std::vector<BpeSymbol> symbols_;
  std::vector<Candidate> candidates_;  // a heap
};

template <typename FindMerge>
void BpeMerger::merge(FindMerge find_merge) {
  candidates_.clear();
  for (size_t i = 0; i + 1 < symbols_.size(); ++i) {
    append_candidate(static_cast<int32_t>(i), find_merge);
  }
  std::make_heap(candidates_.begin(), candidates_.end());
  while (!candidates_.empty()) {
    std::pop_heap(candidates_.begin(), candidates_.end());
    const Candidate best = candidates_.back();
    candidates_.pop_back();
    const int32_t index = static_cast<int32_t>(best.order & 0xffffffff);
    BpeSymbol& left = symbols_[index];
    if (left.size == 0 || left.next < 0) continue;
    BpeSymbol& right = symbols_[left.next];
    if (left.size + right.size != best.size) continue;
    left.size = best.size;
    left.id = best.id;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) symbols_[left.next].previous = index;
    if (append_candidate(left.previous, find_merge)) {
      std::push_heap(candidates_.begin(), candidates_.end());
    }
    if (append_candidate(index, find_merge)) {
      std::push_heap(candidates_.begin(), candidates_.end());
    }
  }
}

}  // namespace kvi
