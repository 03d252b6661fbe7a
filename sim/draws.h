// The random choices of one operation: a stream that nothing but its seed decides, so that an operation
// chooses the same whatever was left out before it.
#pragma once

#include <cstdint>

#include "base/random.h"

namespace kvi::sim {

class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}

  uint64_t bits() { return random_bits(seed_, ++num_drawn_); }
  int below(int bound) { return static_cast<int>(bits() % static_cast<uint64_t>(bound)); }
  int between(int least, int most) { return least + below(most - least + 1); }
  bool one_in(int count) { return below(count) == 0; }

 private:
  const uint64_t seed_;
  uint64_t num_drawn_ = 0;
};

}  // namespace kvi::sim
