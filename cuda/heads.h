// Parameters of the fast kernel between the projections and attention (heads.cu). Plain C++: both sides
// include it.
#pragma once

#include <cstdint>

#include "formats.h"
#include "rows.h"

namespace kvi::cuda {

constexpr int kFinishWarps = 4;
constexpr int kFinishThreads = kFinishWarps * 32;
constexpr int kMostFinishDim = 256;  // of store_heads_256; store_heads_128 has the smaller ones

// Heads that a warp takes in turn: few rows wait for memory, and many share angles.
constexpr int heads_of_warp(int num_rows) { return num_rows < 128 ? 1 : num_rows < 1024 ? 3 : 6; }

// Norm and rotation of queries and keys; queries rounded to the pages' type, K and V rounded into their slots.
// A row of the input is that of one product: queries, then keys, then values, or any three with their strides.
struct StoreHeadsParams {
  const float* queries;  // row i at i * query_stride, [num_heads, head_dim]
  const float* keys;     // [num_kv_heads, head_dim]
  const float* values;   // as keys
  int64_t query_stride, key_stride, value_stride;  // in floats; multiples of 4
  void* rounded_queries;                           // [num_rows, num_heads, head_dim]
  int32_t heads_of_warp;
  int32_t num_rows, num_heads, num_kv_heads, head_dim;  // head_dim: a multiple of 8
  NormWeights q_norm, k_norm;
  const float* angles;       // [num_rows, rotary_dim / 2, 2]; nullptr: no rotation
  int32_t rotary_dim;        // a multiple of 4
  int32_t interleaved;       // 1: pairs (2i, 2i + 1); 0: (i, i + rotary_dim / 2)
  const int32_t* positions;  // [num_rows]
  PageTables tables;
  uint8_t* pages;
  uint64_t page_bytes;
  int32_t page_shift;
  PagePlane key, value;
  Format format;  // f16 or bf16
};

}  // namespace kvi::cuda
