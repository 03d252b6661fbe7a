// Parameters of paged attention (attention.cu). Plain C++: both sides include it.
#pragma once

#include <cstdint>

#include "rows.h"

namespace kvi::cuda {

constexpr int kAttentionWarps = 8;
constexpr int kAttentionThreads = kAttentionWarps * 32;
constexpr int kMostHeadDim = 512;
constexpr int kMostSegments = 4;

// KV pages of one layer. Key j is visible to query i iff 0 <= i - j and, in a window, i - j < window.
struct AttentionSegment {
  const uint8_t* pages;
  uint64_t page_bytes;
  PageTables tables;
  PagePlane key, value;
  int32_t page_shift;  // page_len = 1 << page_shift
  int32_t window;      // 0: none
};

struct AttentionParams {
  const float* queries;  // [num_rows, num_heads, head_dim]
  float* out;            // as queries
  const int32_t* positions;
  int32_t num_heads, num_kv_heads, head_dim;
  float softmax_scale;
  float softcap;  // 0: none
  int32_t num_segments;
  AttentionSegment segments[kMostSegments];
};

// Bytes of dynamic shared memory: the query, and each warp's state.
constexpr int attention_shared_bytes(int head_dim) {
  return static_cast<int>(sizeof(float)) * (head_dim + kAttentionWarps * (head_dim + 2));
}

}  // namespace kvi::cuda
