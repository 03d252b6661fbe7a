// The elementwise kernels in plain C++: the reference.
#include "backend/cpu/simd_scalar.h"
#include "backend/cpu/vector_kernels.h"

namespace kvi::cpu {

constexpr VectorOps kScalarVectorOps = make_vector_ops<ScalarF32x16>();

}  // namespace kvi::cpu
