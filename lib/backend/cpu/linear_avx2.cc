// Product kernels for AVX2 with FMA and F16C.
#include "backend/cpu/linear_avx2_ops.h"

namespace kvi::cpu {
namespace {

struct Avx2 : Avx2Base {
  static constexpr bool kSignedDot8 = true;

  // VPMADDUBSW saturates pairs at 16 bits. Codes of up to 6 bits stay below (2 * 63 * 127); codes of 8
  // bits are taken as code - 128, whose magnitude times the input with its sign does (2 * 128 * 127).
  template <int code_bits>
  static KVI_INLINE I dot(I sum, I codes, I inputs) {
    I pairs;
    if constexpr (code_bits < 8) {
      pairs = _mm256_maddubs_epi16(codes, inputs);
    } else {
      const I values = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80)));
      pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), _mm256_sign_epi8(inputs, values));
    }
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

const LinearKernels kAvx2Kernels = {
    .panel_len = Avx2::kTileRows,
    .wide_panel_len = Avx2::kTileRows,
    .quantize_panel = quantize_panel<Avx2>,
    .multiply_codes = multiply_codes<Avx2>,
    .multiply_floats = multiply_floats<Avx2>,
};

}  // namespace kvi::cpu
