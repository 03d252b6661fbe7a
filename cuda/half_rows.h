// Parameters of the kernels that make the 16-bit inputs of fast matrix products (half_rows.cu). Plain C++: both
// sides include it.
#pragma once

#include <cstdint>

#include "rows.h"

namespace kvi::cuda {

constexpr int kHalfThreads = 512;

// out[i] = norm(x[rows[i]]), rounded to f16 or bf16.
struct HalfNormParams {
  NormWeights norm;
  const float* x;       // [*, len]
  const int32_t* rows;  // [grid], or nullptr: row i
  uint16_t* out;        // [grid, len]
  int64_t len;
  Format format;
};

// out = activation(gate) * up, rounded; gate nullptr: activation(up).
struct HalfActivateParams {
  const float* gate;  // [count]
  const float* up;    // [count]
  uint16_t* out;      // [count]
  int64_t count;
  int32_t gelu;  // 1: gelu_tanh; 0: silu
  Format format;
};

// out = x in f32.
struct WidenParams {
  const uint16_t* x;  // [count]
  float* out;         // [count]
  int64_t count;
  Format format;
};

}  // namespace kvi::cuda
