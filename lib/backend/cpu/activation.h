// Activations and other elementwise work on rows (templates over F32x16).
#pragma once

#include "backend/cpu/simd.h"
#include "backend/layer.h"

namespace kvi::cpu {

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), and 0.5 (1 + tanh u) = sigmoid(2u).
template <class F>
F gelu_tanh(F x) {
  const F cubic = F::fma(x * x * x, F::broadcast(0.044715f), x);
  return x * sigmoid(cubic * F::broadcast(1.5957691216057308f));
}

// out = activation(gate), times up where there is one (not nullptr). out may be gate.
template <class F>
void activate(Activation activation, const float* gate, const float* up, int64_t len, float* out) {
  auto apply = [&](auto function) {
    for_each_vector<F>(len, [&](int64_t i, auto load, auto store) {
      F value = function(load(gate + i));
      if (up != nullptr) value = value * load(up + i);
      store(value, out + i);
    });
  };
  if (activation == Activation::silu) {
    apply([](F x) { return x * sigmoid(x); });
  } else {
    apply([](F x) { return gelu_tanh(x); });
  }
}

// to += x
template <class F>
void add(const float* x, int64_t len, float* to) {
  for_each_vector<F>(
      len, [&](int64_t i, auto load, auto store) { store(load(to + i) + load(x + i), to + i); });
}

// x *= factor
template <class F>
void scale(float factor, int64_t len, float* x) {
  for_each_vector<F>(len, [&](int64_t i, auto load, auto store) {
    store(load(x + i) * F::broadcast(factor), x + i);
  });
}

// x = cap * tanh(x / cap)
template <class F>
F softcap(F x, F cap) {
  return cap * tanh(x / cap);
}
template <class F>
void softcap_row(float cap, int64_t len, float* x) {
  for_each_vector<F>(len, [&](int64_t i, auto load, auto store) {
    store(softcap(load(x + i), F::broadcast(cap)), x + i);
  });
}

}  // namespace kvi::cpu
