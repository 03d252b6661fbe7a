// What it costs to compute a cached page again, per byte that it holds.
#pragma once

#include "cache/eviction.h"

namespace kvi {

// Every token costs the same in the linear layers, and attention grows with its position p: 4 p x hidden x layers
// operations against 2 x weights. In an 8B model they are equal near p = 30,000. The factor is kept milder: the
// policies are judged by the tokens that they save, and a page deep in a prompt is of use only with all pages
// before it. Pages of one policy hold equally many tokens, so their number cancels out.
inline float recompute_cost_per_byte(const EvictionEntry& entry) {
  constexpr float kAttentionEqualsLinear = 131072;  // tokens
  const float cost = 1 + static_cast<float>(entry.first_token) / kAttentionEqualsLinear;
  return cost / static_cast<float>(entry.bytes > 0 ? entry.bytes : 1);
}

}  // namespace kvi
