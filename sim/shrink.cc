#include "sim/shrink.h"

#include <algorithm>
#include <cstddef>

namespace kvi::sim {

std::vector<Operation> shrink(std::vector<Operation> operations, const Fails& fails, int max_runs) {
  size_t piece = std::max<size_t>(1, operations.size() / 2);
  for (;;) {
    bool any_gone = false;
    // From the end: what comes late rests on what came before.
    for (size_t end = operations.size(); end > 0;) {
      if (max_runs-- == 0) return operations;
      const size_t begin = end > piece ? end - piece : 0;
      std::vector<Operation> fewer(operations.begin(),
                                   operations.begin() + static_cast<ptrdiff_t>(begin));
      fewer.insert(fewer.end(), operations.begin() + static_cast<ptrdiff_t>(end), operations.end());
      if (fails(fewer)) {
        operations = std::move(fewer);
        any_gone = true;
      }
      end = begin;
    }
    if (piece == 1 && !any_gone) return operations;
    if (!any_gone || piece > operations.size()) piece = std::max<size_t>(1, piece / 2);
  }
}

}  // namespace kvi::sim
