// The pages of one sequence, in every layer group.
#pragma once

#include <array>
#include <vector>

#include "base/token_id.h"
#include "cache/page_pool.h"
#include "cache/tier_id.h"
#include "tensor/layout.h"

namespace kvi {

struct PageInTable {
  int group;
  int index;  // in the page table
};

struct SequencePages {
  // K and V of positions [0, num_tokens) have been computed, or are being loaded. Pages for later positions may be
  // there already: reserved, not yet written.
  int num_tokens = 0;
  // [group][position / page_len]; kNoPage: slid out of the window
  std::vector<std::vector<PageId>> tables;
  std::vector<int> first_held;  // [group]: the first page that is still there

  int scope = 0;             // whose it is, in the prefix index
  bool reads_shared = true;  // the operator's prefixes too
  bool is_indexed = true;    // its whole pages go into the index
  // The node of its last indexed page, and how many pages of the sequence that makes.
  NodeId node = 0;
  int num_indexed = 0;
  // On their way from a lower tier: the sequence is not to be computed before they are there.
  std::vector<PageInTable> loading;
  std::vector<TokenId> tail;  // the tokens after the last indexed page
  // That attach took from lower tiers, until somebody is told.
  std::array<int, kNumLowerTiers> loaded_tokens = {};
  // Suspended: what is pinned in the tier for it, last node last.
  std::vector<NodeId> pinned;
  TierId pinned_tier = TierId::device;
  int pinned_len =
      0;  // tokens when it was suspended: of windows, their pages before its end are pinned
};

// Before the step's kernels run: copy a whole page inside a group, the writer's own copy of a shared page;
// or, where from is kNoPage, zero it: it held another tenant's tokens. Both pages are in flight until it is done.
struct PageCopy {
  int group;
  PageId from;
  PageId to;
};

}  // namespace kvi
