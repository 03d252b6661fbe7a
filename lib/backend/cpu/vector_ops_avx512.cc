// The elementwise kernels for AVX-512.
#include "backend/cpu/simd_avx512.h"
#include "backend/cpu/vector_kernels.h"

namespace kvi::cpu {

constexpr VectorOps kAvx512VectorOps = make_vector_ops<Avx512F32x16>();

}  // namespace kvi::cpu
