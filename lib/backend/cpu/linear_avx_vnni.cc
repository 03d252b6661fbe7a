// Product kernels for AVX2 with the dot product instruction of AVX-VNNI.
#include "backend/cpu/linear_avx2_ops.h"

namespace kvi::cpu {
namespace {

struct AvxVnni : Avx2Base {
  static constexpr bool kSignedDot8 = false;

  template <int code_bits>
  static KVI_INLINE I dot(I sum, I codes, I inputs) {
    return _mm256_dpbusd_avx_epi32(sum, codes, inputs);
  }
};

}  // namespace

const LinearKernels kAvxVnniKernels = {
    .panel_len = AvxVnni::kTileRows,
    .wide_panel_len = AvxVnni::kTileRows,
    .quantize_panel = quantize_panel<AvxVnni>,
    .multiply_codes = multiply_codes<AvxVnni>,
    .multiply_floats = multiply_floats<AvxVnni>,
};

}  // namespace kvi::cpu
