// Which pairs of tokens merge, in what order, into what.
//
// Thread-safe once built.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/bpe_merge.h"
#include "tokenizer/token_index.h"

namespace kvi {

class MergeTable {
 public:
  // Takes the spec's merges, best first. Throws CORRUPT naming the merge that is not "left right" of
  // two tokens whose concatenation is a token. Merges that make a control token are left out, so
  // that no text becomes one.
  MergeTable(const TokenizerSpec& spec, const TokenIndex& stored_forms);

  std::optional<BpeMerge> find(TokenId left, TokenId right) const {
    if (left < 0 || right < 0) return std::nullopt;
    const uint64_t key = key_of(left, right);
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash(key) & mask; slots_[i].merge.id >= 0; i = (i + 1) & mask) {
      if (slots_[i].key == key) return slots_[i].merge;
    }
    return std::nullopt;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    BpeMerge merge;  // id -1: free
  };

  static uint64_t key_of(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  static uint64_t hash(uint64_t key) {
    key *= 0x9e3779b97f4a7c15;
    return key ^ key >> 32;
  }
  void insert(TokenId left, TokenId right, BpeMerge merge);

  std::vector<Slot> slots_;  // a power of two, at most half full
};

}  // namespace kvi
