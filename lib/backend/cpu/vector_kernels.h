// All vector kernels over one F32x16, as a table. Included by the translation unit of each instruction set.
#pragma once

#include "backend/cpu/activation.h"
#include "backend/cpu/attention_kernel.h"
#include "backend/cpu/norm.h"
#include "backend/cpu/rope.h"
#include "backend/cpu/vector_ops.h"

namespace kvi::cpu {

template <class F>
constexpr VectorOps make_vector_ops() {
  return {rms_norm<F>,    layer_norm<F>, rotate<F>,       activate<F>,     add<F>,       scale<F>,
          softcap_row<F>, attend<F>,     merge_states<F>, finish_state<F>, store_head<F>};
}

}  // namespace kvi::cpu
