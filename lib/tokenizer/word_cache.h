// Remembers, within one encode call, which words became which tokens.
//
// A fixed number of entries, each replaced by the next word that falls on it, so that no text makes
// it slow. Refers to the words and to the output by position. One thread.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/token_index.h"

namespace kvi {

class WordCache {
 public:
  // text_size: bytes of the text whose words it shall hold; a short one is not worth a cache.
  explicit WordCache(size_t text_size)
      : entries_(text_size < kMinText ? 0 : std::bit_floor(std::min(text_size / 8, kMaxEntries))) {}

  // Calls encode(word, out), or repeats what it appended for an equal word. Requires: words and
  // what was appended to out stay where they are between calls.
  template <typename Encode>
  void encode(std::string_view word, std::vector<TokenId>& out, Encode encode) {
    if (entries_.empty() || word.size() > kMaxWord) return encode(word, out);
    Entry& entry = entries_[hash_bytes(word) >> 32 & (entries_.size() - 1)];
    if (entry.word == word) {
      for (uint32_t i = 0; i < entry.count; ++i) out.push_back(out[entry.first + i]);
      return;
    }
    const size_t first = out.size();
    encode(word, out);
    entry = {word, first, static_cast<uint32_t>(out.size() - first)};
  }

 private:
  static constexpr size_t kMinText = 512, kMaxWord = 64, kMaxEntries = 8192;

  struct Entry {
    std::string_view word;
    size_t first = 0;  // in out
    uint32_t count = 0;
  };
  std::vector<Entry> entries_;  // a power of two
};

}  // namespace kvi
