// Of CacheManager: a sequence gives its pages up, and what keeps them for it.
#include <algorithm>
#include <climits>
#include <new>

#include "base/error.h"
#include "base/short_memory.h"
#include "cache/cache_manager.h"

namespace kvi {

void CacheManager::index_tail(SequencePages& sequence) {
  if (sequence.is_indexed && sequence.loading.empty()) index_partial_page(sequence);
}

NodeId CacheManager::index_partial_page(SequencePages& sequence) {
  const int count = sequence.num_tokens - sequence.num_indexed * page_len_;
  if (count <= 0 || count >= page_len_ || static_cast<int>(sequence.tail.size()) < count)
    return kNoNode;
  const size_t index = static_cast<size_t>(sequence.num_indexed);
  for (int g = 0; g < num_groups(); ++g) {
    const PageId page = sequence.tables[g].at(index);
    if (page == kNoPage) return kNoNode;
    const PagePool& pool = prefixes_.pages().pool(g);
    // Somebody else's page is, or will be, indexed by them; what is still to be copied is not to be read yet.
    if (pool.num_holders(page) > 1 || pool.node(page) != kNoNode ||
        pool.state(page) != PageState::writing || pool.is_in_flight(page))
      return kNoNode;
  }
  const NodeId node = prefixes_.add_node(sequence.node, sequence.scope,
                                         std::span(sequence.tail).first(count));
  prefixes_.ref(node);
  const Undo unref([&] { prefixes_.unref(node); });
  for (int g = 0; g < num_groups(); ++g) prefixes_.index_page(node, g, sequence.tables[g][index]);
  return node;
}

void CacheManager::park(SequencePages& sequence) {
  if (sequence.is_indexed && sequence.loading.empty() && sequence.num_tokens > 0) {
    try_to([&] { index_partial_page(sequence); });
    mark_boundary(sequence);
  }
  release(sequence);
}

bool CacheManager::suspend(SequencePages& sequence, std::span<const TokenId> tokens, TierId tier_id,
                           uint64_t* needed) {
  LowerTier* tier = prefixes_.tier(tier_id);
  KVI_CHECK(tier != nullptr);
  // What has not come yet, for a request that has ended, is left where it is, and computed again if need be.
  if (!is_ready(sequence)) {
    int arrived = INT32_MAX;
    for (const PageInTable& l : sequence.loading) arrived = std::min(arrived, l.index);
    truncate(sequence, arrived * page_len_);
  }
  if (!sequence.is_indexed) {
    // Found again by this sequence alone, and by its forks, whose pages are the same.
    int scope = -1;
    for (int g = 0; g < num_groups(); ++g) {
      for (const PageId page : sequence.tables[g]) {
        const NodeId node = page == kNoPage ? kNoNode : prefixes_.pages().pool(g).node(page);
        if (node != kNoNode) scope = prefixes_.tree().scope(node);
      }
    }
    sequence.scope = scope >= 0 ? scope : prefixes_.make_private_scope();
    sequence.reads_shared = false;
  }
  if (!tokens.empty() && !index_whole_pages(sequence, tokens)) throw std::bad_alloc();
  std::vector<NodeId> nodes;
  for (NodeId node = sequence.node; node != PrefixTree::kRoot; node = prefixes_.tree().parent(node))
    nodes.push_back(node);
  std::ranges::reverse(nodes);
  reserve_more(nodes, 1);
  const NodeId partial = index_partial_page(sequence);
  if (partial != kNoNode) nodes.push_back(partial);

  // What is there already is pinned first, so that making room takes nothing of it.
  std::vector<std::pair<NodeId, int>> pinned;
  pinned.reserve(nodes.size() * static_cast<size_t>(num_groups()));
  Undo unpin([&] {
    for (const auto& [node, g] : pinned) tier->unpin(node, g);
  });
  const auto each = [&](const auto& visit) {
    for (const NodeId node : nodes) {
      for (int g = 0; g < num_groups(); ++g) {
        if (is_needed(node, g, sequence.num_tokens) && !visit(node, g)) return false;
      }
    }
    return true;
  };
  const auto pin = [&](NodeId node, int g) {
    tier->pin(node, g);
    pinned.emplace_back(node, g);
  };
  *needed = 0;
  each([&](NodeId node, int g) {
    if (prefixes_.tree().place(node, tier_id, g) != PrefixTree::kNowhere)
      pin(node, g);
    else
      *needed += tier->slot_bytes(g);
    return true;
  });
  const bool fits = tier->pinned_bytes() + *needed <= tier->budget_bytes() &&
                    each([&](NodeId node, int g) {
                      if (prefixes_.tree().place(node, tier_id, g) != PrefixTree::kNowhere)
                        return true;
                      if (!prefixes_.store(node, g, tier_id)) return false;
                      pin(node, g);
                      return true;
                    });
  if (!fits) return false;
  unpin.keep();
  for (const NodeId node : nodes) prefixes_.ref(node);
  mark_boundary(sequence);
  const int num_tokens = sequence.num_tokens;
  release(sequence);
  sequence.pinned_len = num_tokens;
  sequence.pinned = std::move(nodes);
  sequence.pinned_tier = tier_id;
  return true;
}

bool CacheManager::is_needed(NodeId node, int group, int num_tokens) const {
  return prefixes_.tree().depth(node) >= prefixes_.first_needed_page(group, num_tokens);
}

void CacheManager::unpin_from(SequencePages& sequence, int first) {
  while (!sequence.pinned.empty() && prefixes_.tree().depth(sequence.pinned.back()) >= first) {
    const NodeId node = sequence.pinned.back();
    sequence.pinned.pop_back();
    for (int g = 0; g < num_groups(); ++g) {
      if (is_needed(node, g, sequence.pinned_len))
        prefixes_.tier(sequence.pinned_tier)->unpin(node, g);
    }
    prefixes_.unref(node);
  }
}

void CacheManager::mark_boundary(const SequencePages& sequence, Band band) {
  if (sequence.node != PrefixTree::kRoot) prefixes_.mark_boundary(sequence.node, band);
}

}  // namespace kvi
