#include "backend/cpu/vector_ops.h"

namespace kvi::cpu {

const VectorOps& vector_ops(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::scalar: return kScalarVectorOps;
    case Isa::avx2:
    case Isa::avx_vnni: return kAvx2VectorOps;
    case Isa::avx512_vnni:
    case Isa::amx_int8: return kAvx512VectorOps;
  }
#endif
  static_cast<void>(isa);
  return kScalarVectorOps;
}

}  // namespace kvi::cpu
