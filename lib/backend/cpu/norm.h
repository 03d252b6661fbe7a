// RMS and layer norm of one row (templates over F32x16).
//
// Sums run in 16 lanes, then a fixed tree. out may be x.
#pragma once

#include "backend/cpu/simd.h"

namespace kvi::cpu {

// out = x / sqrt(mean(x^2) + eps) * weight
template <class F>
void rms_norm(const float* x, const float* weight, float eps, int64_t len, float* out) {
  F squares = F::broadcast(0.0f);
  for_each_vector<F>(len, [&](int64_t i, auto load, auto) {
    const F value = load(x + i);
    squares = F::fma(value, value, squares);
  });
  const F scale = F::broadcast(1.0f /
                               __builtin_sqrtf(F::sum(squares) / static_cast<float>(len) + eps));
  for_each_vector<F>(len, [&](int64_t i, auto load, auto store) {
    store(load(x + i) * scale * load(weight + i), out + i);
  });
}

// out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; bias may be nullptr
template <class F>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t len,
                float* out) {
  const float count = static_cast<float>(len);
  F total = F::broadcast(0.0f);
  for_each_vector<F>(len, [&](int64_t i, auto load, auto) { total = total + load(x + i); });
  const F mean = F::broadcast(F::sum(total) / count);
  // Squares of the differences: the mean of squares less the squared mean would cancel. The zeros
  // past the end must not become differences.
  F squares = F::broadcast(0.0f);
  for_each_vector<F>(len, [&](int64_t i, auto load, auto) {
    F difference = load(x + i) - mean;
    if (len - i < 16) {
      difference = F::select(F::lanes(0, static_cast<int>(len - i)), difference,
                             F::broadcast(0.0f));
    }
    squares = F::fma(difference, difference, squares);
  });
  const F scale = F::broadcast(1.0f / __builtin_sqrtf(F::sum(squares) / count + eps));
  for_each_vector<F>(len, [&](int64_t i, auto load, auto store) {
    const F normed = (load(x + i) - mean) * scale;
    const F shift = bias != nullptr ? load(bias + i) : F::broadcast(0.0f);
    store(F::fma(normed, load(weight + i), shift), out + i);
  });
}

}  // namespace kvi::cpu
