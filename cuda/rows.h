// Parameters of the kernels that work on rows of the hidden state and on heads (rows.cu). Plain C++: both
// sides include it.
#pragma once

#include <cstdint>

#include "formats.h"

namespace kvi::cuda {

constexpr int kRowThreads = 256;
constexpr int kHeadThreads = 128;
constexpr int kMostRotaryDim = 512;

// out[row] = tokens[token_ids[row]] * scale + learned[positions[row]]
struct EmbedParams {
  MatrixView tokens, learned;
  const int32_t* token_ids;  // [num_rows]
  const int32_t* positions;  // [num_rows]
  float* out;                // [num_rows, len]
  int64_t len;
  float scale;
};

enum class NormForm : int { none, rms, layer };
struct NormWeights {
  NormForm form;
  float eps;
  const float* weight;  // [len]
  const float* bias;    // [len], or nullptr
};

// out[i] = norm(x[rows[i]]), or added to it. out may be x where rows is nullptr.
struct NormParams {
  NormWeights norm;
  const float* x;       // [*, len]
  const int32_t* rows;  // [grid], or nullptr: row i
  float* out;           // [grid, len]
  int64_t len;
  int32_t adds;
};

struct ActivateParams {
  const float* gate;  // [count]; nullptr: out = activation(up)
  const float* up;    // [count]
  float* out;         // [count]: activation(gate) * up; may be either
  int64_t count;
  int32_t gelu;  // 1: gelu_tanh; 0: silu
};

struct SoftcapParams {
  float* x;  // [count]
  int64_t count;
  float cap;
};

// Cosine and sine of position * inverse_frequency, times factor; angles in double, as on the host.
struct AnglesParams {
  const int32_t* positions;  // [num_rows]
  float* angles;             // [num_rows, half, 2]
  int32_t num_rows, half;
  float factor;
  double inverse_frequencies[kMostRotaryDim / 2];
};

// One tensor of KV pages for one layer: head h of slot s of page p lies at
// pages + p * page_bytes + offset + h * head_stride + s * slot_stride, its values side by side.
struct PagePlane {
  uint64_t offset, head_stride, slot_stride;  // bytes
};
struct PageTables {
  const int32_t* pages;     // of all sequences
  const int64_t* first;     // [num_sequences] in pages
  const int32_t* sequence;  // [num_rows]
};

// What is left to do for the heads of each row once they are projected: norm and rotation of queries (in
// place) and keys, and K and V rounded into their slots.
struct FinishHeadsParams {
  float* queries;       // [num_rows, num_heads, head_dim]
  const float* keys;    // [num_rows, num_kv_heads, head_dim]
  const float* values;  // as keys
  int32_t num_heads, num_kv_heads, head_dim;
  NormWeights q_norm, k_norm;
  const float* angles;  // [num_rows, rotary_dim / 2, 2]; nullptr: no rotation
  int32_t rotary_dim;
  int32_t interleaved;  // 1: pairs (2i, 2i + 1); 0: (i, i + rotary_dim / 2)
  const int32_t* positions;
  PageTables tables;
  uint8_t* pages;
  uint64_t page_bytes;
  int32_t page_shift;  // page_len = 1 << page_shift
  PagePlane key, value;
  Format format;  // of K and V
};

}  // namespace kvi::cuda
