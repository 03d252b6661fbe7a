// Paged attention of a few query rows a sequence: bound by the bytes of keys and values.
//
// A thread block has a run of keys of one sequence and KV head. Its warps take tiles of 16 keys in turn, each
// through a ring of its own (no barrier in the loop), and are merged in order. Where a sequence's keys are
// split among blocks, the last to arrive merges the splits, in their order: results are reproducible.
#include "attention_ops.cuh"
#include "paged_attention.h"

namespace kvi::cuda {
namespace {

// What a tile of packed queries may see.
struct Visible {
  int first, last;          // keys of any query
  int first_all, last_all;  // keys of every query
};

template <typename E, int kDim>
struct Decode {
  static constexpr int kStages = decode_stages(kDim);
  static constexpr int kRowBytes = shared_row_bytes(kDim);
  static constexpr int kPlaneBytes = kKeysOfTile * kRowBytes;
  static constexpr int kStageBytes = 2 * kPlaneBytes;  // K, then V
  static constexpr int kChunks = kDim / 8;             // 16 bytes each, of a row
  static constexpr int kMergeStride = kDim + 8;        // floats; shifts rows by 8 banks
  static constexpr int kPartialFloats = partial_floats(kDim);
  static_assert(kDecodeWarps * kDecodeQueries * kMergeStride * 4 +
                    kDecodeWarps * kDecodeQueries * 8 <=
                decode_shared_bytes(kDim));

  const PagedAttentionParams& p;
  const AttentionWork work;
  const int kv_head, group;
  const int warp, lane;
  Visible visible;
  int position[2];  // of the two queries of this lane's fragments
  uint32_t ring;    // shared memory of this warp

  uint32_t query[kDim / 16][4];
  float out[kDim / 8][4];
  float largest[2], sum[2];  // sum: this lane's part

  __device__ Decode(const PagedAttentionParams& params, const AttentionWork& item, uint8_t* shared)
      : p(params),
        work(item),
        kv_head(blockIdx.x),
        group(params.num_heads / params.num_kv_heads),
        warp(threadIdx.x / 32),
        lane(threadIdx.x % 32),
        ring(shared_address(shared) + warp * kStages * kStageBytes) {
    const int first = position_of(0), last = position_of(work.num_queries - 1);
    visible.last = last;
    visible.last_all = first;
    visible.first = p.window > 0 ? max(0, first + 1 - p.window) : 0;
    visible.first_all = p.window > 0 ? max(0, last + 1 - p.window) : 0;
    for (int i = 0; i < 2; ++i) position[i] = position_of(lane / 4 + 8 * i);
  }

  __device__ int position_of(int q) const {
    return work.first_position + (work.first_query + q) / group;
  }
  // Of query q of this tile: its place among [num_rows, num_heads].
  __device__ int64_t row_head(int q) const {
    const int packed = work.first_query + q;
    return int64_t{work.first_row + packed / group} * p.num_heads + kv_head * group +
           packed % group;
  }

  __device__ int num_tiles() const { return (work.num_keys + kKeysOfTile - 1) / kKeysOfTile; }
  __device__ int page_of(const int32_t* table, int tile) const {
    return tile < num_tiles() ? table[(work.first_key + tile * kKeysOfTile) >> p.page_shift] : 0;
  }

  // 16 rows of one plane. kAll: every key is visible.
  template <bool kAll>
  __device__ void load_plane(const uint8_t* from, int64_t stride, uint32_t to, int key) const {
    constexpr int kCopies = kKeysOfTile * kChunks / 32;  // a lane
    if constexpr (32 % kChunks == 0) {
      constexpr int kRows = 32 / kChunks;  // that the warp copies at once
      const int first = lane / kChunks, chunk = lane % kChunks;
      from += first * stride + chunk * 16;
      to += first * kRowBytes + chunk * 16;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int at = key + first + i * kRows;
        copy_or_clear(to + i * kRows * kRowBytes, from,
                      kAll || (at >= visible.first && at <= visible.last));
        from += kRows * stride;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int row = (lane + 32 * i) / kChunks, chunk = (lane + 32 * i) % kChunks;
        copy_or_clear(to + row * kRowBytes + chunk * 16, from + row * stride + chunk * 16,
                      kAll || (key + row >= visible.first && key + row <= visible.last));
      }
    }
  }

  __device__ void load(int tile, int page_id, int stage) const {
    const int key = work.first_key + tile * kKeysOfTile;
    const int64_t slot = key & ((1 << p.page_shift) - 1);
    const uint8_t* page = p.pages + static_cast<int64_t>(page_id) * p.page_bytes;
    const int64_t key_stride = p.key.slot_stride, value_stride = p.value.slot_stride;
    const uint8_t* keys = page + p.key.offset + kv_head * p.key.head_stride + slot * key_stride;
    const uint8_t* values = page + p.value.offset + kv_head * p.value.head_stride +
                            slot * value_stride;
    const uint32_t to = ring + stage * kStageBytes;
    if (key >= visible.first && key + kKeysOfTile - 1 <= visible.last) {
      load_plane<true>(keys, key_stride, to, key);
      load_plane<true>(values, value_stride, to + kPlaneBytes, key);
    } else {
      load_plane<false>(keys, key_stride, to, key);
      load_plane<false>(values, value_stride, to + kPlaneBytes, key);
    }
  }

  __device__ void load_query() {
    const E* queries = static_cast<const E*>(p.queries);
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool is_there = g + 8 * i < work.num_queries;
      const uint32_t* from = reinterpret_cast<const uint32_t*>(
          queries + (is_there ? row_head(g + 8 * i) : 0) * kDim);
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        query[k][i] = is_there ? from[k * 8 + t] : 0;
        query[k][i + 2] = is_there ? from[k * 8 + t + 4] : 0;
      }
    }
  }

  __device__ void attend(int tile, int stage) {
    const uint32_t keys = ring + stage * kStageBytes, values = keys + kPlaneBytes;
    // Two sums a half of the tile, so that products do not wait for each other.
    float score[2][4] = {}, odd[2][4] = {};
    const uint32_t key_at = keys + (lane % 8 + lane / 16 * 8) * kRowBytes + lane / 8 % 2 * 16;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t b[4];
      load_matrices(b, key_at + k * 32);
      Half16<E>::multiply(k % 2 ? odd[0] : score[0], query[k], b[0], b[1]);
      Half16<E>::multiply(k % 2 ? odd[1] : score[1], query[k], b[2], b[3]);
    }
    float scale = p.softmax_scale * 1.4426950408889634f;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) score[n][j] += odd[n][j];
    }
    if (p.softcap > 0) {
      const float inner = p.softmax_scale / p.softcap;
      scale = p.softcap * 1.4426950408889634f;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) score[n][j] = fast_tanh(score[n][j] * inner);
      }
    }
    const int key = work.first_key + tile * kKeysOfTile;
    if (key < visible.first_all || key + kKeysOfTile - 1 > visible.last_all) {
      const int window = p.window > 0 ? p.window : INT32_MAX;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int distance = position[j / 2] - (key + n * 8 + lane % 4 * 2 + j % 2);
          if (distance < 0 || distance >= window) score[n][j] = -INFINITY;
        }
      }
    }
    float tile_largest[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float most = fmaxf(fmaxf(score[0][2 * i], score[0][2 * i + 1]),
                               fmaxf(score[1][2 * i], score[1][2 * i + 1]));
      tile_largest[i] = fmaxf(most * scale, largest[i]);
    }
    tile_largest[0] = quad_max(tile_largest[0]);
    tile_largest[1] = quad_max(tile_largest[1]);
    if (__any_sync(~0u, tile_largest[0] > largest[0] || tile_largest[1] > largest[1])) {
      const float shrink[2] = {power_of_2(largest[0] - tile_largest[0]),
                               power_of_2(largest[1] - tile_largest[1])};
      sum[0] *= shrink[0];
      sum[1] *= shrink[1];
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) out[n][j] *= shrink[j / 2];
      }
      largest[0] = tile_largest[0];
      largest[1] = tile_largest[1];
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        score[n][j] = power_of_2(fmaf(score[n][j], scale, -largest[j / 2]));
        sum[j / 2] += score[n][j];
      }
    }
    const uint32_t weights[4] = {
        Half16<E>::pack(score[0][0], score[0][1]), Half16<E>::pack(score[0][2], score[0][3]),
        Half16<E>::pack(score[1][0], score[1][1]), Half16<E>::pack(score[1][2], score[1][3])};
    const uint32_t value_at = values + (lane % 16) * kRowBytes + lane / 16 * 16;
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t b[4];
      load_transposed(b, value_at + n * 32);
      Half16<E>::multiply(out[2 * n], weights, b[0], b[1]);
      Half16<E>::multiply(out[2 * n + 1], weights, b[2], b[3]);
    }
  }

  __device__ void run() {
    const int32_t* table = p.tables.pages + p.tables.first[work.sequence];
    int next_tile = warp;  // the next to load
    int next_page = page_of(table, next_tile);
    const auto load_next = [&](int stage) {
      const int tile = next_tile, page = next_page;
      next_tile += kDecodeWarps;
      next_page = page_of(table, next_tile);
      if (tile < num_tiles()) load(tile, page, stage);
      end_copy_group();
    };
    // Keys of earlier steps are there before the kernel before this one is done; its queries are not.
    const bool loads_early = work.first_key +
                                 ((kStages - 1) * kDecodeWarps + warp + 1) * kKeysOfTile <=
                             work.first_position;
    if (!loads_early) wait_for_earlier();
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) load_next(stage);
    if (loads_early) wait_for_earlier();
    load_query();
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[n][j] = 0;
    }
    largest[0] = largest[1] = kNoScore;
    sum[0] = sum[1] = 0;

    int stage = 0;
    for (int tile = warp; tile < num_tiles(); tile += kDecodeWarps) {
      wait_for_copies<kStages - 1>();
      __syncwarp();
      attend(tile, stage);
      __syncwarp();
      load_next(stage);
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    wait_for_copies<0>();
    sum[0] = quad_sum(sum[0]);
    sum[1] = quad_sum(sum[1]);
  }

  // Merges the warps, in their order, and writes the tile's result, or the split's.
  __device__ void merge(float* shared) {
    float* outs = shared;  // [warps, queries, kMergeStride]
    float* maxima = outs + kDecodeWarps * kDecodeQueries * kMergeStride;  // [warps, queries]
    float* sums = maxima + kDecodeWarps * kDecodeQueries;                 // as maxima
    __syncthreads();                                                      // the rings are free
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int q = g + 8 * i;
      if (t == 0) {
        maxima[warp * kDecodeQueries + q] = largest[i];
        sums[warp * kDecodeQueries + q] = sum[i];
      }
      if (q >= work.num_queries) continue;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<float2*>(outs + (warp * kDecodeQueries + q) * kMergeStride + n * 8 +
                                   t * 2) = make_float2(out[n][2 * i], out[n][2 * i + 1]);
      }
    }
    __syncthreads();
    float* partial = p.partials +
                     (int64_t{work.first_partial + work.split} * p.num_kv_heads + kv_head) *
                         kPartialFloats;
    for (int i = threadIdx.x; i < work.num_queries * (kDim / 4); i += kDecodeThreads) {
      const int q = i / (kDim / 4), d = i % (kDim / 4) * 4;
      float overall = maxima[q];
#pragma unroll
      for (int w = 1; w < kDecodeWarps; ++w) {
        overall = fmaxf(overall, maxima[w * kDecodeQueries + q]);
      }
      float total = 0;
      float4 value = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int w = 0; w < kDecodeWarps; ++w) {
        const float share = power_of_2(maxima[w * kDecodeQueries + q] - overall);
        const float4 x = *reinterpret_cast<const float4*>(
            outs + (w * kDecodeQueries + q) * kMergeStride + d);
        total = fmaf(sums[w * kDecodeQueries + q], share, total);
        value.x = fmaf(x.x, share, value.x);
        value.y = fmaf(x.y, share, value.y);
        value.z = fmaf(x.z, share, value.z);
        value.w = fmaf(x.w, share, value.w);
      }
      if (work.num_splits == 1) {
        write(q, d, value, 1 / total);
      } else {
        *reinterpret_cast<float4*>(partial + q * kDim + d) = value;
        if (d == 0) {
          partial[kDecodeQueries * kDim + q] = overall;
          partial[kDecodeQueries * (kDim + 1) + q] = total;
        }
      }
    }
  }

  __device__ void write(int q, int d, float4 value, float factor) const {
    const int64_t at = row_head(q) * kDim + d;
    if (p.out_format == Format::f32) {
      *reinterpret_cast<float4*>(static_cast<float*>(p.out) + at) = make_float4(
          value.x * factor, value.y * factor, value.z * factor, value.w * factor);
      return;
    }
    uint2 packed;
    if (p.out_format == Format::f16) {
      packed.x = Half16<__half>::pack(value.x * factor, value.y * factor);
      packed.y = Half16<__half>::pack(value.z * factor, value.w * factor);
    } else {
      packed.x = Half16<__nv_bfloat16>::pack(value.x * factor, value.y * factor);
      packed.y = Half16<__nv_bfloat16>::pack(value.z * factor, value.w * factor);
    }
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(p.out) + at) = packed;
  }

  // Whether this block is the last of the tile's splits; what the others wrote is seen then.
  __device__ bool arrives_last() const {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      int32_t* arrived = p.arrivals + work.tile * p.num_kv_heads + kv_head;
      is_last = atomicAdd(arrived, 1) == work.num_splits - 1;
      if (is_last) *arrived = 0;
    }
    __syncthreads();
    __threadfence();
    return is_last;
  }

  // In the order of splits, kAtOnce of which are read together: reading takes longer than merging.
  __device__ void merge_splits() const {
    constexpr int kAtOnce = 16;
    const int64_t stride = int64_t{p.num_kv_heads} * kPartialFloats;
    const float* partials = p.partials + (int64_t{work.first_partial} * p.num_kv_heads + kv_head) *
                                             kPartialFloats;
    for (int i = threadIdx.x; i < work.num_queries * (kDim / 4); i += kDecodeThreads) {
      const int q = i / (kDim / 4), d = i % (kDim / 4) * 4;
      float overall = kNoScore, total = 0;
      float4 value = make_float4(0, 0, 0, 0);
      for (int first = 0; first < work.num_splits; first += kAtOnce) {
        float4 x[kAtOnce];
        float score[kAtOnce], weight[kAtOnce];
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) {
          const bool is_there = first + s < work.num_splits;
          const float* from = partials + (is_there ? first + s : 0) * stride;
          x[s] = __ldcg(reinterpret_cast<const float4*>(from + q * kDim + d));
          score[s] = is_there ? __ldcg(from + kDecodeQueries * kDim + q) : -INFINITY;
          weight[s] = __ldcg(from + kDecodeQueries * (kDim + 1) + q);
        }
        float most = overall;
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) most = fmaxf(most, score[s]);
        const float shrink = power_of_2(overall - most);
        overall = most;
        total *= shrink;
        value.x *= shrink, value.y *= shrink, value.z *= shrink, value.w *= shrink;
#pragma unroll
        for (int s = 0; s < kAtOnce; ++s) {
          const float share = power_of_2(score[s] - most);
          total = fmaf(weight[s], share, total);
          value.x = fmaf(x[s].x, share, value.x);
          value.y = fmaf(x[s].y, share, value.y);
          value.z = fmaf(x[s].z, share, value.z);
          value.w = fmaf(x[s].w, share, value.w);
        }
      }
      write(q, d, value, 1 / total);
    }
  }
};

// Grid: (KV heads, pieces of work at most).
template <typename E, int kDim>
__device__ void attend_decode(const PagedAttentionParams& p) {
  extern __shared__ __align__(16) uint8_t shared[];
  let_next_start();
  const AttentionWork work = p.work[blockIdx.y];  // behind the list's end it may be anything
  if (static_cast<int>(blockIdx.y) >= *p.num_work) {
    wait_for_earlier();
    return;
  }
  Decode<E, kDim> decode(p, work, shared);
  decode.run();
  decode.merge(reinterpret_cast<float*>(shared));
  if (decode.work.num_splits > 1 && decode.arrives_last()) {
    decode.merge_splits();
  }
}

}  // namespace

#define KVI_ATTENTION_DECODE(name, element, head_dim)                                        \
  extern "C" __global__ void __launch_bounds__(kDecodeThreads, 1)                            \
      attention_decode_##name##_##head_dim(const __grid_constant__ PagedAttentionParams p) { \
    attend_decode<element, head_dim>(p);                                                     \
  }
KVI_ATTENTION_DECODE(f16, __half, 64)
KVI_ATTENTION_DECODE(f16, __half, 96)
KVI_ATTENTION_DECODE(f16, __half, 128)
KVI_ATTENTION_DECODE(f16, __half, 256)
KVI_ATTENTION_DECODE(bf16, __nv_bfloat16, 64)
KVI_ATTENTION_DECODE(bf16, __nv_bfloat16, 96)
KVI_ATTENTION_DECODE(bf16, __nv_bfloat16, 128)
KVI_ATTENTION_DECODE(bf16, __nv_bfloat16, 256)

}  // namespace kvi::cuda
