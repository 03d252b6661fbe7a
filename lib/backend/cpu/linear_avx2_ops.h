// Vector operations of eight rows for AVX2 with FMA and F16C; included by the two sources that are
// compiled for it, with and without the dot product instruction of AVX-VNNI.
#pragma once

#include <immintrin.h>

#include "backend/cpu/linear_kernels_impl.h"

namespace kvi::cpu {
namespace {  // each source's own copy, for its own instruction set

struct Avx2Base {
  static constexpr int kLanes = 8;
  static constexpr int kTileVectors = 1, kTileRows = 4;
  static constexpr int kFloatTileVectors = 2, kFloatTileRows = 4;
  using F = __m256;
  using I = __m256i;

  static KVI_INLINE F zero() { return _mm256_setzero_ps(); }
  static KVI_INLINE F load(const float* at) { return _mm256_loadu_ps(at); }
  static KVI_INLINE F load_f32(const std::byte* at) { return read_as<F>(at); }
  static KVI_INLINE void store(float* at, F v) { _mm256_storeu_ps(at, v); }
  static KVI_INLINE F broadcast(const void* at) { return _mm256_set1_ps(read_as<float>(at)); }
  static KVI_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  static KVI_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static KVI_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static KVI_INLINE F to_float(I v) { return _mm256_cvtepi32_ps(v); }

  static KVI_INLINE __m128i load_16_bytes(const std::byte* at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  }
  static KVI_INLINE __m128i load_8_bytes(const std::byte* at) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
  }
  static KVI_INLINE F load_f16(const std::byte* at) { return _mm256_cvtph_ps(load_16_bytes(at)); }
  static KVI_INLINE F load_bf16(const std::byte* at) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16_bytes(at)), 16));
  }
  static KVI_INLINE F load_i8(const std::byte* at) {
    return to_float(_mm256_cvtepi8_epi32(load_8_bytes(at)));
  }
  static KVI_INLINE F load_low_nibbles(const std::byte* at) {
    return to_float(
        _mm256_and_si256(_mm256_cvtepu8_epi32(load_8_bytes(at)), _mm256_set1_epi32(15)));
  }
  static KVI_INLINE F load_high_nibbles(const std::byte* at) {
    return to_float(_mm256_srli_epi32(_mm256_cvtepu8_epi32(load_8_bytes(at)), 4));
  }

  static KVI_INLINE I zero_int() { return _mm256_setzero_si256(); }
  static KVI_INLINE I load_bytes(const std::byte* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static KVI_INLINE I broadcast_word(const std::byte* at) {
    return _mm256_set1_epi32(read_as<int32_t>(at));
  }
  template <int n>
  static KVI_INLINE I shift_left(I v) {
    return _mm256_slli_epi32(v, n);
  }
  template <int n>  // to the left where negative
  static KVI_INLINE I shift_right(I v) {
    if constexpr (n > 0) return _mm256_srli_epi32(v, n);
    if constexpr (n < 0) return _mm256_slli_epi32(v, -n);
    return v;
  }
  static KVI_INLINE I and_bytes(I v, int mask) {
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(mask)));
  }
  static KVI_INLINE I or_bits(I a, I b) { return _mm256_or_si256(a, b); }
  template <int shift>  // one code of each word, less the zero point
  static KVI_INLINE I shifted_code(I words, int zero_point) {
    return _mm256_sub_epi32(_mm256_and_si256(shift_right<shift>(words), _mm256_set1_epi32(255)),
                            _mm256_set1_epi32(zero_point));
  }

  static KVI_INLINE uint32_t largest_magnitude(const float* src) {
    I largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      const I bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i * 8));
      largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(largest),
                                 _mm256_extracti128_si256(largest, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  static KVI_INLINE void round_block(const float* src, float inverse, std::byte* dst,
                                     int32_t (&half_sums)[2]) {
    for (int half = 0; half < 2; ++half) {
      const F scale = _mm256_set1_ps(inverse);
      const I low = _mm256_cvtps_epi32(mul(load(src + half * 16), scale));
      const I high = _mm256_cvtps_epi32(mul(load(src + half * 16 + 8), scale));
      const I words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(dst + half * 16),
          _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
      const I pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
      __m128i four = _mm_add_epi32(_mm256_castsi256_si128(pairs),
                                   _mm256_extracti128_si256(pairs, 1));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
      four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
      half_sums[half] = _mm_cvtsi128_si32(four);
    }
  }
};

}  // namespace
}  // namespace kvi::cpu
