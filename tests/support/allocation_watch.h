// Remembers the largest single request to operator new. An executable that links allocation_watch.cc
// has every new of the process watched.
//
// Thread-safe.
#pragma once

#include <cstddef>

namespace kvi {

void reset_largest_allocation();
size_t largest_allocation();  // bytes, since the last reset

}  // namespace kvi
