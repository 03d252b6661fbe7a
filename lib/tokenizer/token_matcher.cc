#include "tokenizer/token_matcher.h"

#include <algorithm>

#include "base/utf8.h"

namespace kvi {

TokenMatcher::TokenMatcher(std::vector<std::pair<std::string_view, TokenId>> patterns) {
  std::erase_if(patterns, [](const auto& p) { return p.first.empty() || !is_utf8(p.first); });
  std::sort(patterns.begin(), patterns.end());

  // Breadth first, so that siblings are adjacent. A node stands for the patterns [begin, end), which
  // share their first depth bytes.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, patterns.size(), 0}};
  nodes_.emplace_back();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    auto [begin, end, depth] = ranges[i];
    if (begin < end && patterns[begin].first.size() == depth) {
      if (depth > 0) nodes_[i].token = patterns[begin].second;  // the lowest id of equal patterns
      while (begin < end && patterns[begin].first.size() == depth) ++begin;
    }
    nodes_[i].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = patterns[begin].first[depth];
      size_t next = begin;
      while (next < end && patterns[next].first[depth] == label) ++next;
      nodes_.push_back({static_cast<unsigned char>(label), -1, 0, 0});
      ranges.push_back({begin, next, depth + 1});
      ++nodes_[i].num_children;
      begin = next;
    }
  }
  for (uint32_t c = 0; c < nodes_[0].num_children; ++c) {
    starts_[nodes_[nodes_[0].first_child + c].label] = true;
  }
}

const TokenMatcher::Node* TokenMatcher::child(const Node& node, unsigned char label) const {
  const Node* begin = nodes_.data() + node.first_child;
  const Node* end = begin + node.num_children;
  const Node* found = std::lower_bound(
      begin, end, label, [](const Node& n, unsigned char value) { return n.label < value; });
  return found != end && found->label == label ? found : nullptr;
}

std::optional<TokenMatcher::Match> TokenMatcher::find(std::string_view text, size_t pos) const {
  if (empty()) return std::nullopt;
  for (; pos < text.size(); ++pos) {
    if (!starts_[static_cast<unsigned char>(text[pos])]) continue;
    Match match;
    const Node* node = &nodes_[0];
    for (size_t i = pos; i < text.size(); ++i) {
      node = child(*node, static_cast<unsigned char>(text[i]));
      if (node == nullptr) break;
      if (node->token >= 0) match = {pos, i + 1 - pos, node->token};
    }
    if (match.size > 0) return match;
  }
  return std::nullopt;
}

}  // namespace kvi
