// The pages of one sequence, in every layer group.
#pragma once

#include <vector>

#include "tensor/layout.h"

namespace kvi {

struct SequencePages {
  // K and V of positions [0, num_tokens) have been computed. Pages for later positions may be there
  // already: reserved, not yet written.
  int num_tokens = 0;
  // [group][position / page_len]; kNoPage: slid out of the window
  std::vector<std::vector<PageId>> tables;
  std::vector<int> first_held;  // [group]: the first page that is still there
};

// Copy a whole page inside a group, before the step's kernels run: the writer's own copy of a shared page.
struct PageCopy {
  int group;
  PageId from;
  PageId to;
};

}  // namespace kvi
