// What every kernel needs over F32x16 (F): elements of a type, tails, exp, tanh, sigmoid.
//
// Templates only, so that each instruction set has its own copy of the code: nothing here may call an
// ordinary inline function, whose copy the linker would pick from any translation unit.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace kvi::cpu {

template <DType dtype>
struct ElementOf {
  using type = uint16_t;
};
template <>
struct ElementOf<DType::F32> {
  using type = float;
};
template <DType dtype>
using Element = typename ElementOf<dtype>::type;

template <class F, DType dtype>
F load_elements(const Element<dtype>* p) {
  if constexpr (dtype == DType::F16) {
    return F::load_f16(p);
  } else if constexpr (dtype == DType::BF16) {
    return F::load_bf16(p);
  } else {
    return F::load(p);
  }
}

template <class F, DType dtype>
void store_elements(F value, Element<dtype>* p) {
  if constexpr (dtype == DType::F16) {
    value.store_f16(p);
  } else if constexpr (dtype == DType::BF16) {
    value.store_bf16(p);
  } else {
    value.store(p);
  }
}

// The first count (of 16) elements; the other lanes are 0.
template <class F, DType dtype>
F load_tail(const Element<dtype>* p, int64_t count) {
  Element<dtype> padded[16] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load_elements<F, dtype>(padded);
}

template <class F, DType dtype>
void store_tail(F value, Element<dtype>* p, int64_t count) {
  Element<dtype> padded[16];
  store_elements<F, dtype>(value, padded);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

// Calls body(i, load, store) for i = 0, 16, ... below len; load and store respect the end.
template <class F, class Body>
void for_each_vector(int64_t len, const Body& body) {
  int64_t i = 0;
  for (; i + 16 <= len; i += 16) {
    body(
        i, [](const float* p) { return F::load(p); }, [](F value, float* p) { value.store(p); });
  }
  if (i < len) {
    const int64_t count = len - i;
    body(
        i, [=](const float* p) { return load_tail<F, DType::F32>(p, count); },
        [=](F value, float* p) { store_tail<F, DType::F32>(value, p, count); });
  }
}

// The functions below are always inlined: a call would pass vectors through memory and load every
// constant anew.

// e^x within 2 ulp on [-87, 88]; arguments outside count as the nearest end. NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r = 1 + r + r^2 q(r), q a minimax fit of degree 4.
template <class F>
[[gnu::always_inline]] inline F exp(F x) {
  const F round = F::broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves n in the low bits
  x = F::min(F::broadcast(88.0f), F::max(F::broadcast(-87.0f), x));
  const F shifted = F::fma(x, F::broadcast(0x1.715476p+0f), round);  // log2 e
  const F n = shifted - round;
  F r = F::fnma(n, F::broadcast(0x1.62e400p-1f), x);  // ln 2, high bits: n times it is exact
  r = F::fnma(n, F::broadcast(0x1.7f7d1cp-20f), r);   // and the rest
  F q = F::broadcast(0x1.6d7574p-10f);
  q = F::fma(q, r, F::broadcast(0x1.120b94p-7f));
  q = F::fma(q, r, F::broadcast(0x1.5554b8p-5f));
  q = F::fma(q, r, F::broadcast(0x1.5554dcp-3f));
  q = F::fma(q, r, F::broadcast(0.5f));
  const F power = F::broadcast(1.0f) + F::fma(r * r, q, r);
  return F::add_exponent(power, shifted);
}

template <class F>
[[gnu::always_inline]] inline F sigmoid(F x) {
  const F one = F::broadcast(1.0f);
  return one / (one + exp(F::broadcast(0.0f) - x));
}

// tanh x within 3 ulp: an odd polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
template <class F>
[[gnu::always_inline]] inline F tanh(F x) {
  const F one = F::broadcast(1.0f), two = F::broadcast(2.0f), zero = F::broadcast(0.0f);
  const F magnitude = F::max(zero - x, x);
  const F far = one - two / (exp(two * magnitude) + one);
  const F square = x * x;
  F p = F::broadcast(-0.0060622306f);
  p = F::fma(p, square, F::broadcast(0.020975012f));
  p = F::fma(p, square, F::broadcast(-0.053846695f));
  p = F::fma(p, square, F::broadcast(0.13332747f));
  p = F::fma(p, square, F::broadcast(-0.33333328f));
  const F near = F::fma(p * square, x, x);
  const F signed_far = F::select(F::less(x, zero), zero - far, far);
  return F::select(F::less(F::broadcast(0.625f), magnitude), signed_far, near);
}

}  // namespace kvi::cpu
