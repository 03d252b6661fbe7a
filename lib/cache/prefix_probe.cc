#include "cache/prefix_probe.h"

#include <algorithm>

namespace kvi {
namespace {

// The slowest of the tiers that the groups' pages of a node must come from; what is on its way is not there yet.
int tier_of(const PrefixCache& cache, NodeId node) {
  int slowest = 0;
  for (int g = 0; g < static_cast<int>(cache.groups().size()); ++g) {
    for (int tier = 0; tier < kNumTiers; ++tier) {
      const PageId place = cache.tree().place(node, static_cast<TierId>(tier), g);
      if (place == PrefixTree::kNowhere) continue;
      if (tier == 0 && cache.pages().pool(g).state(place) != PageState::committed) continue;
      slowest = std::max(slowest, tier);
      break;
    }
  }
  return slowest;
}

MissReason reason_for(const PrefixCache& cache, const SequencePages& sequence, NodeId last,
                      std::span<const TokenId> tokens, int num_pages) {
  const int page_len = cache.tree().page_len();
  const auto rest = tokens.subspan(static_cast<size_t>(num_pages) * page_len);
  if (static_cast<int>(rest.size()) >= page_len) {
    const auto page = rest.first(page_len);
    const Digest key = cache.child_key(last, sequence.scope, page);
    const bool was_there = cache.was_evicted(key) ||
                           cache.tree().find_child(last, sequence.scope, key, page) != kNoNode;
    if (was_there) return MissReason::evicted;
  }
  // Whether anybody else has more of it.
  const int wanted = std::min(static_cast<int>(tokens.size()) / page_len, num_pages + 1);
  if (wanted > num_pages && cache.longest_of_others(sequence, tokens) >= wanted)
    return MissReason::tenant;
  return MissReason::never_seen;
}

}  // namespace

PrefixProbe probe_prefix(const PrefixCache& cache, const SequencePages& sequence,
                         std::span<const TokenId> tokens) {
  const int page_len = cache.tree().page_len();
  const PrefixMatch match = cache.match(sequence, tokens, static_cast<int>(tokens.size()), true);
  PrefixProbe probe;
  for (const NodeId node : match.path) probe.tokens[tier_of(cache, node)] += page_len;
  if (match.partial.num_tokens > 0)
    probe.tokens[tier_of(cache, match.partial.node)] += match.partial.num_tokens;
  probe.first_miss = match.num_tokens(page_len);
  if (probe.first_miss < static_cast<int>(tokens.size())) {
    const NodeId last = match.path.empty() ? sequence.node : match.path.back();
    probe.reason = reason_for(cache, sequence, last, tokens, match.num_pages);
  }
  return probe;
}

}  // namespace kvi
