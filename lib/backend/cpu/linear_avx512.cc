// Product kernels for AVX-512 with VNNI.
#include "backend/cpu/linear_avx512_ops.h"

namespace kvi::cpu {

const LinearKernels kAvx512Kernels = {
    .panel_len = Avx512::kTileRows,
    .wide_panel_len = Avx512::kTileRows,
    .quantize_panel = quantize_panel<Avx512>,
    .multiply_codes = multiply_codes<Avx512>,
    .multiply_floats = multiply_floats<Avx512>,
};

}  // namespace kvi::cpu
