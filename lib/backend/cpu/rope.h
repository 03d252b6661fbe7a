// Rotary positions (templates over F32x16): each pair of a head's values turns by an angle of its own.
#pragma once

#include "backend/cpu/simd.h"
#include "backend/cpu/vector_ops.h"

namespace kvi::cpu {

// Rotates the first rotary_dim values of one head in place.
template <class F>
void rotate(RopePairs pairs, RotaryAngles angles, int rotary_dim, float* head) {
  if (pairs == RopePairs::interleaved) {
    for_each_vector<F>(rotary_dim, [&](int64_t i, auto load, auto store) {
      const F x = load(head + i);
      store(F::fma(F::swap_pairs(x), load(angles.sines + i), x * load(angles.cosines + i)),
            head + i);
    });
    return;
  }
  const int half = rotary_dim / 2;
  for_each_vector<F>(half, [&](int64_t i, auto load, auto store) {
    const F first = load(head + i), second = load(head + half + i);
    const F cosine = load(angles.cosines + i), sine = load(angles.sines + i);
    store(F::fnma(second, sine, first * cosine), head + i);
    store(F::fma(first, sine, second * cosine), head + half + i);
  });
}

}  // namespace kvi::cpu
