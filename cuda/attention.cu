// The plain paged attention: any head_dim, window, soft-cap and grouping; the oracle of faster kernels.
//
// Keys go to warps by their absolute position, tile after tile, and the warps' states are merged in order:
// what a row gets depends on its own position and sequence only.
#include "attention.h"

#include "blocks.cuh"

namespace kvi::cuda {
namespace {

constexpr int kTile = 32;  // keys that a warp scores at once, one a lane
constexpr int kDimsPerLane = kMostHeadDim / 32;

// One warp's softmax over its keys.
struct State {
  float largest = -INFINITY;
  float sum = 0;  // of e^(score - largest)
  float out[kDimsPerLane] =
      {};  // sum of e^(score - largest) * V; lane l has the values l, l + 32, ...
};

__device__ float warp_max(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
  }
  return value;
}
__device__ float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  return value;
}

template <Format F>
__device__ void attend_tile(const AttentionParams& p, const AttentionSegment& segment,
                            const int32_t* table, int kv_head, int first_key, int position,
                            int tile, const float* query, State& state) {
  using Element = Block<F>;
  const int lane = threadIdx.x % 32;
  const int key = tile * kTile + lane;
  const bool is_visible = key >= first_key && key <= position;
  const uint8_t* value_row = nullptr;
  float score = -INFINITY;
  if (is_visible) {
    const uint8_t* page = segment.pages +
                          int64_t{table[key >> segment.page_shift]} * segment.page_bytes;
    const int slot = key & ((1 << segment.page_shift) - 1);
    const uint8_t* key_row = page + segment.key.offset + kv_head * segment.key.head_stride +
                             slot * segment.key.slot_stride;
    value_row = page + segment.value.offset + kv_head * segment.value.head_stride +
                slot * segment.value.slot_stride;
    float dot = 0;
#pragma unroll 4
    for (int d = 0; d < p.head_dim; ++d) {
      dot = fmaf(query[d], Element::value(key_row + d * Element::kBytes), dot);
    }
    score = p.softcap > 0 ? p.softcap * tanhf(dot / p.softcap) : dot;
  }
  const float largest = fmaxf(state.largest, warp_max(score));
  const float shrink = expf(state.largest - largest);
  const float weight = is_visible ? expf(score - largest) : 0.0f;
  state.largest = largest;
  state.sum = fmaf(state.sum, shrink, warp_sum(weight));
#pragma unroll
  for (int i = 0; i < kDimsPerLane; ++i) state.out[i] *= shrink;
#pragma unroll 1  // its body is long enough, and compiles sixteen times faster
  for (int j = 0; j < kTile; ++j) {
    const float weight_of_key = __shfl_sync(~0u, weight, j);
    const uint8_t* row = reinterpret_cast<const uint8_t*>(
        __shfl_sync(~0u, reinterpret_cast<unsigned long long>(value_row), j));
    if (row == nullptr) continue;
#pragma unroll
    for (int i = 0; i < kDimsPerLane; ++i) {
      const int d = lane + 32 * i;
      if (d < p.head_dim) {
        state.out[i] = fmaf(weight_of_key, Element::value(row + d * Element::kBytes), state.out[i]);
      }
    }
  }
}

// Grid: (rows, query heads).
template <Format F>
__device__ void attend(const AttentionParams& p) {
  extern __shared__ float shared[];
  float* query = shared;                    // [head_dim], scaled
  float* largest = query + p.head_dim;      // [kAttentionWarps]
  float* sums = largest + kAttentionWarps;  // [kAttentionWarps]
  float* outs = sums + kAttentionWarps;     // [kAttentionWarps, head_dim]
  const int row = blockIdx.x, head = blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t at = (int64_t{row} * p.num_heads + head) * p.head_dim;
  for (int d = threadIdx.x; d < p.head_dim; d += kAttentionThreads) {
    query[d] = p.queries[at + d] * p.softmax_scale;
  }
  __syncthreads();

  const int position = p.positions[row];
  const int kv_head = head / (p.num_heads / p.num_kv_heads);
  State state;
  for (int s = 0; s < p.num_segments; ++s) {
    const AttentionSegment& segment = p.segments[s];
    const int32_t* table = segment.tables.pages +
                           segment.tables.first[segment.tables.sequence[row]];
    const int first_key = segment.window > 0 ? max(0, position + 1 - segment.window) : 0;
    const int first_tile = first_key / kTile;
    const int ahead = (warp - first_tile % kAttentionWarps + kAttentionWarps) % kAttentionWarps;
    for (int tile = first_tile + ahead; tile <= position / kTile; tile += kAttentionWarps) {
      attend_tile<F>(p, segment, table, kv_head, first_key, position, tile, query, state);
    }
  }

  if (lane == 0) {
    largest[warp] = state.largest;
    sums[warp] = state.sum;
  }
#pragma unroll
  for (int i = 0; i < kDimsPerLane; ++i) {
    if (lane + 32 * i < p.head_dim) outs[warp * p.head_dim + lane + 32 * i] = state.out[i];
  }
  __syncthreads();
  float overall = largest[0];
  for (int w = 1; w < kAttentionWarps; ++w) overall = fmaxf(overall, largest[w]);
  for (int d = threadIdx.x; d < p.head_dim; d += kAttentionThreads) {
    float sum = 0, out = 0;
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float share = expf(largest[w] - overall);
      sum = fmaf(sums[w], share, sum);
      out = fmaf(outs[w * p.head_dim + d], share, out);
    }
    p.out[at + d] = out / sum;
  }
}

}  // namespace

#define KVI_ATTENTION_KERNEL(format)                                  \
  extern "C" __global__ void __launch_bounds__(kAttentionThreads)     \
      attention_##format(const __grid_constant__ AttentionParams p) { \
    attend<Format::format>(p);                                        \
  }
KVI_CUDA_KV_FORMATS(KVI_ATTENTION_KERNEL)

}  // namespace kvi::cuda
