// Counter-based random numbers: the n-th number of a seed does not depend on which were drawn before.
//
// Thread-safe: pure functions. (The mixing function is SplitMix64's finaliser, Steele et al. 2014.)
#pragma once

#include <cstdint>

namespace kvi {

inline uint64_t random_bits(uint64_t seed, uint64_t counter) {
  uint64_t bits = 0;
  for (uint64_t word : {seed, counter}) {  // two rounds, so that neighbouring seeds are unrelated
    bits = (bits ^ word) + 0x9e3779b97f4a7c15;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    bits ^= bits >> 31;
  }
  return bits;
}

// In [0, 1), with 53 random bits.
inline double random_unit(uint64_t seed, uint64_t counter) {
  return static_cast<double>(random_bits(seed, counter) >> 11) * 0x1p-53;
}

}  // namespace kvi
