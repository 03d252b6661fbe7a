// The short cut for words that are one token: most words of real text.
//
// That a word's bytes are a token does not mean that its merges end in it, so each token remembers, once
// it has been tried, whether they do. The memory only ever changes from unknown to the one true answer:
// thread-safe, and no result depends on it.
#pragma once

#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/token_index.h"

namespace kvi {

class WholeTokens {
 public:
  explicit WholeTokens(size_t num_tokens)
      : reached_(std::make_unique<std::atomic<uint8_t>[]>(num_tokens)) {}

  // Appends word's tokens: those that merge(word, out) appends, or the single one that it is known to.
  // words: the index of tokens by bytes.
  template <typename Merge>
  void encode(const TokenIndex& words, std::string_view word, std::vector<TokenId>& out,
              Merge merge) const {
    const auto id = words.find(word);
    if (id && reached_[*id].load(std::memory_order_relaxed) == kReached) {
      out.push_back(*id);
      return;
    }
    const size_t first = out.size();
    merge(word, out);
    if (id) {
      const bool reached = out.size() == first + 1 && out[first] == *id;
      reached_[*id].store(reached ? kReached : kNotReached, std::memory_order_relaxed);
    }
  }

 private:
  enum : uint8_t { kUnknown, kReached, kNotReached };
  std::unique_ptr<std::atomic<uint8_t>[]> reached_;  // by token
};

}  // namespace kvi
