// Delta debugging (Zeller and Hildebrandt, 2002): fewer operations that still fail.
//
// Thread-safe: a pure function, but for what `fails` does.
#pragma once

#include <functional>
#include <vector>

#include "sim/operation.h"

namespace kvi::sim {

using Fails = std::function<bool(const std::vector<Operation>&)>;

// requires: fails(operations). At most max_runs calls of fails; what is left where they run out is returned.
std::vector<Operation> shrink(std::vector<Operation> operations, const Fails& fails, int max_runs);

}  // namespace kvi::sim
