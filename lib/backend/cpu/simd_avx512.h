// F32x16 as one AVX-512 register (F, BW, DQ, VL). See simd_scalar.h for what each operation means.
//
// Included only by the translation unit that is compiled for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvi::cpu {

struct Avx512F32x16 {
  using Mask = __mmask16;

  static constexpr int kScoreRows = 8;
  static constexpr int kValueRows = 6;
  static constexpr int score_tiles(int rows) { return rows <= 2 ? 8 : rows <= 4 ? 4 : 2; }
  static constexpr int value_columns(int) { return 4; }

  __m512 v;

  static Avx512F32x16 broadcast(float value) { return {_mm512_set1_ps(value)}; }
  static Avx512F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512F32x16 load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(load_halves(p))}; }
  static Avx512F32x16 load_bf16(const uint16_t* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(p)), 16))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_f16(uint16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  void store_bf16(uint16_t* p) const {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits,
                                             _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i high = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                                               quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(high, 16)));
  }

  friend Avx512F32x16 operator+(Avx512F32x16 a, Avx512F32x16 b) {
    return {_mm512_add_ps(a.v, b.v)};
  }
  friend Avx512F32x16 operator-(Avx512F32x16 a, Avx512F32x16 b) {
    return {_mm512_sub_ps(a.v, b.v)};
  }
  friend Avx512F32x16 operator*(Avx512F32x16 a, Avx512F32x16 b) {
    return {_mm512_mul_ps(a.v, b.v)};
  }
  friend Avx512F32x16 operator/(Avx512F32x16 a, Avx512F32x16 b) {
    return {_mm512_div_ps(a.v, b.v)};
  }
  static Avx512F32x16 fma(Avx512F32x16 a, Avx512F32x16 b, Avx512F32x16 c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512F32x16 fnma(Avx512F32x16 a, Avx512F32x16 b, Avx512F32x16 c) {
    return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512F32x16 max(Avx512F32x16 a, Avx512F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Avx512F32x16 min(Avx512F32x16 a, Avx512F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }

  static Mask less(Avx512F32x16 a, Avx512F32x16 b) {
    return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ);
  }
  static Mask lanes(int begin, int end) {
    return static_cast<Mask>(first_lanes(end) & ~first_lanes(begin));
  }
  static Avx512F32x16 select(Mask mask, Avx512F32x16 yes, Avx512F32x16 no) {
    return {_mm512_mask_mov_ps(no.v, mask, yes.v)};
  }

  static Avx512F32x16 swap_pairs(Avx512F32x16 a) { return {_mm512_permute_ps(a.v, 0xb1)}; }
  static Avx512F32x16 add_exponent(Avx512F32x16 a, Avx512F32x16 shift) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_castps_si512(a.v), _mm512_slli_epi32(_mm512_castps_si512(shift.v), 23)))};
  }

  static float sum(Avx512F32x16 a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static float largest(Avx512F32x16 a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }

 private:
  static __m256i load_halves(const uint16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static uint32_t first_lanes(int count) {
    return count <= 0 ? 0 : count >= 16 ? 0xffff : (1u << count) - 1;
  }
};

}  // namespace kvi::cpu
