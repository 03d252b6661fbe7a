#include "tokenizer/token_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace kvi {

uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t hash = bytes.size() * kMultiplier;
  const char* p = bytes.data();
  size_t left = bytes.size();
  while (left > 0) {
    uint64_t word = 0;
    const size_t n = left < 8 ? left : 8;
    std::memcpy(&word, p, n);
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
    p += n;
    left -= n;
  }
  return hash * kMultiplier;
}

TokenIndex::TokenIndex(std::span<const std::string> texts)
    : texts_(texts), slots_(std::bit_ceil(std::max<size_t>(texts.size() * 2, 2))) {}

void TokenIndex::insert(TokenId id) {
  const uint64_t hash = hash_bytes(texts_[id]);
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    if (slots_[i].id < 0) {
      slots_[i] = {tag, id};
      return;
    }
    if (slots_[i].tag == tag && texts_[slots_[i].id] == texts_[id]) return;
  }
}

std::optional<TokenId> TokenIndex::find(std::string_view text) const {
  const uint64_t hash = hash_bytes(text);
  const uint32_t tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && texts_[slots_[i].id] == text) return slots_[i].id;
  }
  return std::nullopt;
}

}  // namespace kvi
