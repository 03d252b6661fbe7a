// The element and block formats of weights and KV pages, as kernels are told of them.
//
// Numbers are those of GGUF (ggml), as everywhere in the library. Plain C++: both sides include it.
#pragma once

#include <cstdint>

namespace kvi::cuda {

enum class Format : int {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};

// X(format) for each of them.
#define KVI_CUDA_FORMATS(X) \
  X(f32)                    \
  X(f16) X(bf16) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k)

// X(format) for those that KV pages may have.
#define KVI_CUDA_KV_FORMATS(X) X(f32) X(f16) X(bf16)

struct MatrixView {
  const uint8_t* data;  // nullptr: absent
  int64_t row_bytes;    // as stored; packed ones have no rows
  Format format;
  int32_t is_packed;  // as packed.h says
};

}  // namespace kvi::cuda
