// Vector operations of sixteen rows for AVX-512 with VNNI; included by the sources that are compiled for
// it, with and without AMX.
#pragma once

#include <immintrin.h>

#include "backend/cpu/linear_kernels_impl.h"

namespace kvi::cpu {
namespace {  // each source's own copy, for its own instruction set

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kTileVectors = 2, kTileRows = 6;
  static constexpr int kFloatTileVectors = 4, kFloatTileRows = 6;
  static constexpr bool kSignedDot8 = false;
  using F = __m512;
  using I = __m512i;

  static KVI_INLINE F zero() { return _mm512_setzero_ps(); }
  static KVI_INLINE F load(const float* at) { return _mm512_loadu_ps(at); }
  static KVI_INLINE F load_f32(const std::byte* at) { return _mm512_loadu_ps(at); }
  static KVI_INLINE void store(float* at, F v) { _mm512_storeu_ps(at, v); }
  static KVI_INLINE F broadcast(const void* at) { return _mm512_set1_ps(read_as<float>(at)); }
  static KVI_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static KVI_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static KVI_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static KVI_INLINE F to_float(I v) { return _mm512_cvtepi32_ps(v); }

  static KVI_INLINE __m128i load_16_bytes(const std::byte* at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  }
  static KVI_INLINE __m256i load_32_bytes(const std::byte* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static KVI_INLINE F load_f16(const std::byte* at) { return _mm512_cvtph_ps(load_32_bytes(at)); }
  static KVI_INLINE F load_bf16(const std::byte* at) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_32_bytes(at)), 16));
  }
  static KVI_INLINE F load_i8(const std::byte* at) {
    return to_float(_mm512_cvtepi8_epi32(load_16_bytes(at)));
  }
  static KVI_INLINE F load_low_nibbles(const std::byte* at) {
    return to_float(
        _mm512_and_si512(_mm512_cvtepu8_epi32(load_16_bytes(at)), _mm512_set1_epi32(15)));
  }
  static KVI_INLINE F load_high_nibbles(const std::byte* at) {
    return to_float(_mm512_srli_epi32(_mm512_cvtepu8_epi32(load_16_bytes(at)), 4));
  }

  static KVI_INLINE I zero_int() { return _mm512_setzero_si512(); }
  static KVI_INLINE I load_bytes(const std::byte* at) { return _mm512_loadu_si512(at); }
  static KVI_INLINE I broadcast_word(const std::byte* at) {
    return _mm512_set1_epi32(read_as<int32_t>(at));
  }
  template <int n>
  static KVI_INLINE I shift_left(I v) {
    return _mm512_slli_epi32(v, n);
  }
  template <int n>  // to the left where negative
  static KVI_INLINE I shift_right(I v) {
    if constexpr (n > 0) return _mm512_srli_epi32(v, n);
    if constexpr (n < 0) return _mm512_slli_epi32(v, -n);
    return v;
  }
  static KVI_INLINE I and_bytes(I v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
  }
  static KVI_INLINE I or_bits(I a, I b) { return _mm512_or_si512(a, b); }
  template <int shift>  // one code of each word, less the zero point
  static KVI_INLINE I shifted_code(I words, int zero_point) {
    return _mm512_sub_epi32(_mm512_and_si512(shift_right<shift>(words), _mm512_set1_epi32(255)),
                            _mm512_set1_epi32(zero_point));
  }

  static KVI_INLINE uint32_t largest_magnitude(const float* src) {
    const I magnitude = _mm512_set1_epi32(0x7fffffff);
    const I first = _mm512_and_si512(_mm512_loadu_si512(src), magnitude);
    const I second = _mm512_and_si512(_mm512_loadu_si512(src + 16), magnitude);
    return static_cast<uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(first, second)));
  }
  static KVI_INLINE void round_block(const float* src, float inverse, std::byte* dst,
                                     int32_t (&half_sums)[2]) {
    for (int half = 0; half < 2; ++half) {
      const I values = _mm512_cvtps_epi32(
          mul(_mm512_loadu_ps(src + half * 16), _mm512_set1_ps(inverse)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + half * 16), _mm512_cvtepi32_epi8(values));
      half_sums[half] = _mm512_reduce_add_epi32(values);
    }
  }

  template <int code_bits>
  static KVI_INLINE I dot(I sum, I codes, I inputs) {
    return _mm512_dpbusd_epi32(sum, codes, inputs);
  }
};

}  // namespace
}  // namespace kvi::cpu
