// Classes of entries by their number of hits: 0, 1, 2, 3, 4-7, 8-15, 16-31, 32 and more.
#pragma once

#include <bit>
#include <cstdint>

namespace kvi {

constexpr int kNumHitClasses = 8;

inline int hit_class(uint8_t hits) {
  if (hits < 4) return hits;
  const int log2 = std::bit_width(hits) - 1;
  return log2 + 2 < kNumHitClasses ? log2 + 2 : kNumHitClasses - 1;
}

// The hits of an entry in the middle of the class.
inline int typical_hits(int hit_class) { return hit_class < 4 ? hit_class : 3 << (hit_class - 3); }

}  // namespace kvi
