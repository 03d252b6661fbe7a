// Finds whole tokens inside a text: the leftmost, and of those the longest.
//
// Thread-safe.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvi {

class TokenMatcher {
 public:
  // patterns: text and id; empty or ill-formed ones never match.
  explicit TokenMatcher(std::vector<std::pair<std::string_view, TokenId>> patterns);

  struct Match {
    size_t begin = 0;
    size_t size = 0;  // bytes
    TokenId token = -1;
  };

  // The next match in text from pos on.
  std::optional<Match> find(std::string_view text, size_t pos) const;

  bool empty() const { return nodes_.size() == 1; }

 private:
  // A trie: the children of a node are adjacent, ascending by label.
  struct Node {
    unsigned char label = 0;
    TokenId token = -1;  // of the pattern that ends here
    uint32_t first_child = 0;
    uint32_t num_children = 0;
  };

  const Node* child(const Node& node, unsigned char label) const;

  std::vector<Node> nodes_;  // the root first
  std::array<bool, 256> starts_{};
};

}  // namespace kvi
