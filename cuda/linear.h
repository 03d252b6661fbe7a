// Parameters of the matrix product (linear.cu). Plain C++: both sides include it.
#pragma once

#include <cstdint>

#include "formats.h"

namespace kvi::cuda {

constexpr int kLinearThreads = 256;
constexpr int kLinearRows = kLinearThreads / 32;  // weight rows of a thread block: a warp each
constexpr int kLinearTokens = 8;                  // tokens that share a pass over the weights

struct LinearParams {
  MatrixView weight;  // [rows, cols]
  const float* bias;  // [rows], or nullptr
  const float* x;     // [num_tokens, cols]
  float* out;         // [num_tokens, rows]
  int64_t rows, cols;
  int32_t num_tokens;
  int32_t adds;  // 1: out += the product
};

}  // namespace kvi::cuda
