// F32x16 as two AVX2 registers (with FMA and F16C). See simd_scalar.h for what each operation means.
//
// Included only by the translation unit that is compiled for AVX2.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvi::cpu {

struct Avx2F32x16 {
  struct Mask {
    __m256 low, high;
  };

  static constexpr int kScoreRows = 6;
  static constexpr int kValueRows = 6;
  static constexpr int score_tiles(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }
  static constexpr int value_columns(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }

  __m256 low, high;

  static Avx2F32x16 broadcast(float value) {
    return {_mm256_set1_ps(value), _mm256_set1_ps(value)};
  }
  static Avx2F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Avx2F32x16 load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static Avx2F32x16 load_bf16(const uint16_t* p) { return {widen_bf16(p), widen_bf16(p + 8)}; }
  void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
  void store_f16(uint16_t* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                     _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT));
  }
  void store_bf16(uint16_t* p) const {
    // packus interleaves the 128-bit lanes of its operands; the permutation puts them in order.
    __m256i packed = _mm256_packus_epi32(round_bf16(low), round_bf16(high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
  }

  friend Avx2F32x16 operator+(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  friend Avx2F32x16 operator-(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
  }
  friend Avx2F32x16 operator*(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  friend Avx2F32x16 operator/(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
  }
  static Avx2F32x16 fma(Avx2F32x16 a, Avx2F32x16 b, Avx2F32x16 c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Avx2F32x16 fnma(Avx2F32x16 a, Avx2F32x16 b, Avx2F32x16 c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
  }
  static Avx2F32x16 max(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
  }
  static Avx2F32x16 min(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
  }

  static Mask less(Avx2F32x16 a, Avx2F32x16 b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
  }
  static Mask lanes(int begin, int end) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {between(index, begin, end), between(index, begin - 8, end - 8)};
  }
  static Avx2F32x16 select(Mask mask, Avx2F32x16 yes, Avx2F32x16 no) {
    return {_mm256_blendv_ps(no.low, yes.low, mask.low),
            _mm256_blendv_ps(no.high, yes.high, mask.high)};
  }

  static Avx2F32x16 swap_pairs(Avx2F32x16 a) {
    return {_mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1)};
  }
  static Avx2F32x16 add_exponent(Avx2F32x16 a, Avx2F32x16 shift) {
    return {add_exponent(a.low, shift.low), add_exponent(a.high, shift.high)};
  }

  static float sum(Avx2F32x16 a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static float largest(Avx2F32x16 a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }

 private:
  static __m256 widen_bf16(const uint16_t* p) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static __m256i round_bf16(__m256 value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits,
                                             _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan)), 16);
  }
  static __m256 between(__m256i index, int begin, int end) {
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(begin), index);
    return _mm256_castsi256_ps(
        _mm256_andnot_si256(below, _mm256_cmpgt_epi32(_mm256_set1_epi32(end), index)));
  }
  static __m256 add_exponent(__m256 a, __m256 shift) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a),
                                                _mm256_slli_epi32(_mm256_castps_si256(shift), 23)));
  }
};

}  // namespace kvi::cpu
