// The elementwise kernels for AVX2 with FMA and F16C.
#include "backend/cpu/simd_avx2.h"
#include "backend/cpu/vector_kernels.h"

namespace kvi::cpu {

constexpr VectorOps kAvx2VectorOps = make_vector_ops<Avx2F32x16>();

}  // namespace kvi::cpu
