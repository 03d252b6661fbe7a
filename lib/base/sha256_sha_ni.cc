// The compression function of SHA-256 with the SHA extensions of x86 (Intel SDM, volume 2: SHA256RNDS2).
//
// Compiled for them; only Sha256 calls it, where the CPU has them.
#include <immintrin.h>

#include "base/sha256_blocks.h"

namespace kvi {
namespace {

__m128i load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
void store(void* to, __m128i value) { _mm_storeu_si128(static_cast<__m128i*>(to), value); }

constexpr int kSwapPairs = 0xb1;  // lanes 1 0 3 2
constexpr int kUpperHalf = 0x0e;  // lanes 2 3 into 0 1

}  // namespace

void sha256_blocks_sha_ni(uint32_t* state, const uint8_t* blocks, size_t num_blocks) {
  const __m128i kBigEndian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  // The instructions want the state as (f, e, b, a) and (h, g, d, c), lowest lane first.
  const __m128i badc = _mm_shuffle_epi32(load(state), kSwapPairs);
  const __m128i fehg = _mm_shuffle_epi32(load(state + 4), kSwapPairs);
  __m128i feba = _mm_unpacklo_epi64(fehg, badc);
  __m128i hgdc = _mm_unpackhi_epi64(fehg, badc);

  for (; num_blocks > 0; --num_blocks, blocks += 64) {
    const __m128i feba_before = feba, hgdc_before = hgdc;
    __m128i w[4];  // the next 16 words of the message schedule, as a ring
    for (int i = 0; i < 4; ++i) w[i] = _mm_shuffle_epi8(load(blocks + 16 * i), kBigEndian);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m128i words = _mm_add_epi32(w[i % 4], load(kSha256Round + 4 * i));
      // Two rounds leave the new (f, e, b, a) in place of (h, g, d, c), and the old one is the new (h, g, d, c).
      hgdc = _mm_sha256rnds2_epu32(hgdc, feba, words);
      feba = _mm_sha256rnds2_epu32(feba, hgdc, _mm_shuffle_epi32(words, kUpperHalf));
      if (i < 12) {
        const __m128i& newest = w[(i + 3) % 4];
        __m128i next = _mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(newest, w[(i + 2) % 4], 4));
        w[i % 4] = _mm_sha256msg2_epu32(next, newest);
      }
    }
    feba = _mm_add_epi32(feba, feba_before);
    hgdc = _mm_add_epi32(hgdc, hgdc_before);
  }
  store(state, _mm_shuffle_epi32(_mm_unpackhi_epi64(feba, hgdc), kSwapPairs));
  store(state + 4, _mm_shuffle_epi32(_mm_unpacklo_epi64(feba, hgdc), kSwapPairs));
}

}  // namespace kvi
