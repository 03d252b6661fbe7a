// F32x16 in plain C++: the reference that the other instruction sets equal bit for bit.
//
// The three simd_*.h define the same operations on 16 lanes of f32. Kernels are templates over the
// type, so that no function compiled for one instruction set shares a symbol with another.
#pragma once

#include <cstdint>

#include "tensor/half.h"

namespace kvi::cpu {

struct ScalarF32x16 {
  using Mask = uint32_t;  // bit i: lane i

  // Register blocks of attention: rows * tiles accumulators at once.
  static constexpr int kScoreRows = 1;
  static constexpr int kValueRows = 1;
  static constexpr int score_tiles(int) { return 1; }
  static constexpr int value_columns(int) { return 1; }

  float lane[16];

  template <typename Function>
  static ScalarF32x16 each(Function function) {
    ScalarF32x16 out;
    for (int i = 0; i < 16; ++i) out.lane[i] = function(i);
    return out;
  }

  static ScalarF32x16 broadcast(float value) {
    return each([=](int) { return value; });
  }
  static ScalarF32x16 load(const float* p) {
    return each([=](int i) { return p[i]; });
  }
  static ScalarF32x16 load_f16(const uint16_t* p) {
    return each([=](int i) { return f16_to_f32(p[i]); });
  }
  static ScalarF32x16 load_bf16(const uint16_t* p) {
    return each([=](int i) { return bf16_to_f32(p[i]); });
  }
  void store(float* p) const {
    for (int i = 0; i < 16; ++i) p[i] = lane[i];
  }
  void store_f16(uint16_t* p) const {
    for (int i = 0; i < 16; ++i) p[i] = f32_to_f16(lane[i]);
  }
  void store_bf16(uint16_t* p) const {
    for (int i = 0; i < 16; ++i) p[i] = f32_to_bf16(lane[i]);
  }

  friend ScalarF32x16 operator+(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  friend ScalarF32x16 operator-(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  friend ScalarF32x16 operator*(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  friend ScalarF32x16 operator/(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  // a * b + c, and c - a * b, rounded once.
  static ScalarF32x16 fma(const ScalarF32x16& a, const ScalarF32x16& b, const ScalarF32x16& c) {
    return each([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static ScalarF32x16 fnma(const ScalarF32x16& a, const ScalarF32x16& b, const ScalarF32x16& c) {
    return each([&](int i) { return __builtin_fmaf(-a.lane[i], b.lane[i], c.lane[i]); });
  }
  // a > b ? a : b, which is b when either is NaN.
  static ScalarF32x16 max(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static ScalarF32x16 min(const ScalarF32x16& a, const ScalarF32x16& b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }

  static Mask less(const ScalarF32x16& a, const ScalarF32x16& b) {
    Mask mask = 0;
    for (int i = 0; i < 16; ++i) mask |= Mask{a.lane[i] < b.lane[i]} << i;
    return mask;
  }
  static Mask lanes(int begin, int end) {  // of [begin, end), whatever of it is in [0, 16)
    Mask mask = 0;
    for (int i = 0; i < 16; ++i) mask |= Mask{i >= begin && i < end} << i;
    return mask;
  }
  static ScalarF32x16 select(Mask mask, const ScalarF32x16& yes, const ScalarF32x16& no) {
    return each([&](int i) { return mask >> i & 1 ? yes.lane[i] : no.lane[i]; });
  }

  // (1, 0, 3, 2, ...)
  static ScalarF32x16 swap_pairs(const ScalarF32x16& a) {
    return each([&](int i) { return a.lane[i ^ 1]; });
  }
  // Adds the low bits of shift's representation to the exponents of a.
  static ScalarF32x16 add_exponent(const ScalarF32x16& a, const ScalarF32x16& shift) {
    return each([&](int i) {
      return std::bit_cast<float>(std::bit_cast<uint32_t>(a.lane[i]) +
                                  (std::bit_cast<uint32_t>(shift.lane[i]) << 23));
    });
  }

  // Both by halves: lanes i and i + 8, then i + 4, i + 2, i + 1.
  static float sum(ScalarF32x16 a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.lane[i] = a.lane[i] + a.lane[i + half];
    }
    return a.lane[0];
  }
  static float largest(ScalarF32x16 a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
      }
    }
    return a.lane[0];
  }
};

}  // namespace kvi::cpu
