// Counts the requests to operator new, and remembers the largest. An executable that links
// allocation_watch.cc has every new of the process watched.
//
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvi {

void reset_largest_allocation();
size_t largest_allocation();  // bytes, since the last reset
uint64_t num_allocations();   // since the process began

}  // namespace kvi
