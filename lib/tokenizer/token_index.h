// Token texts to ids: a hash table over strings that its owner keeps.
//
// Thread-safe once filled.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvi {

uint64_t hash_bytes(std::string_view bytes);

class TokenIndex {
 public:
  // texts: by id; must outlive the index, unchanged.
  explicit TokenIndex(std::span<const std::string> texts);

  void insert(TokenId id);  // of several tokens with one text the first counts

  std::optional<TokenId> find(std::string_view text) const;

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    TokenId id = -1;
  };

  std::span<const std::string> texts_;
  std::vector<Slot> slots_;  // a power of two, at most half full
};

}  // namespace kvi
