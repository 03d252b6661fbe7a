// Parameters of the kernels beside large matrix products (unpack.cu). Plain C++: both sides include it.
#pragma once

#include <cstdint>

#include "packed.h"

namespace kvi::cuda {

constexpr int kUnpackThreads = 256;

// Rows of a packed matrix as rows of f16, side by side.
struct UnpackParams {
  const uint8_t* tiles;  // from the first row's tile on
  uint16_t* out;         // [num_rows, cols]
  int64_t num_rows, cols;
};

// up = activation(gate) * up, in f16 or bf16.
struct GateHalvesParams {
  const uint16_t* gate;  // [count], a multiple of 8
  uint16_t* up;          // as gate
  int64_t count;
  int32_t gelu;  // 1: gelu_tanh; 0: silu
  Format format;
};

// out[token, row] += bias[row]
struct AddBiasParams {
  void* out;          // [num_tokens, rows] of format
  const float* bias;  // [rows]
  int64_t rows;
  int32_t num_tokens;
  Format format;  // f32, f16 or bf16
};

}  // namespace kvi::cuda
