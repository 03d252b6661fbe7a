// Paged attention of many query rows a sequence, on any GPU from sm_80: bound by arithmetic.
//
// A thread block has a tile of packed queries, each of its four warps a quarter; keys and values pass through
// two stages of shared memory. Tiles are listed longest first.
#include "attention_ops.cuh"
#include "paged_attention.h"

namespace kvi::cuda {
namespace {

template <typename E, int kDim>
struct Prefill {
  static constexpr int kQueries = prefill_queries(kDim);
  static constexpr int kKeys = prefill_keys(kDim);
  static constexpr int kBlocks = kQueries / 64;  // of 16 queries, a warp
  static constexpr int kRowBytes = shared_row_bytes(kDim);
  static constexpr int kChunks = kDim / 8;  // 16 bytes each, of a row
  static constexpr int kPlaneBytes = kKeys * kRowBytes;
  static constexpr int kPages = kKeys / kKeysOfTile;  // at most, of a tile

  const PagedAttentionParams& p;
  const AttentionWork work;
  const int kv_head, group;
  const int warp, lane;
  int first_visible, last_visible;  // by any query of the tile
  uint32_t queries_at, ring;        // shared memory

  float out[kBlocks][kDim / 8][4];
  float largest[kBlocks][2], sum[kBlocks][2];  // sum: this lane's part
  int position[kBlocks][2];

  __device__ Prefill(const PagedAttentionParams& params, const AttentionWork& item, uint8_t* shared)
      : p(params),
        work(item),
        kv_head(blockIdx.x),
        group(params.num_heads / params.num_kv_heads),
        warp(threadIdx.x / 32),
        lane(threadIdx.x % 32),
        queries_at(shared_address(shared)),
        ring(queries_at + kQueries * kRowBytes) {
    last_visible = position_of(work.num_queries - 1);
    first_visible = p.window > 0 ? max(0, position_of(0) + 1 - p.window) : 0;
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        position[m][i] = position_of((warp * kBlocks + m) * 16 + lane / 4 + 8 * i);
        largest[m][i] = kNoScore;
        sum[m][i] = 0;
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) out[m][n][j] = 0;
      }
    }
  }

  __device__ int position_of(int q) const {
    return work.first_position + (work.first_query + q) / group;
  }
  __device__ int64_t row_head(int q) const {
    const int packed = work.first_query + q;
    return int64_t{work.first_row + packed / group} * p.num_heads + kv_head * group +
           packed % group;
  }

  __device__ void load_queries() const {
    const E* queries = static_cast<const E*>(p.queries);
    for (int i = threadIdx.x; i < kQueries * kChunks; i += kPrefillThreads) {
      const int q = i / kChunks, chunk = i % kChunks;
      const bool is_there = q < work.num_queries;
      copy_or_clear(queries_at + q * kRowBytes + chunk * 16,
                    queries + (is_there ? row_head(q) : 0) * kDim + chunk * 8, is_there);
    }
  }

  __device__ void find_pages(const int32_t* table, int first_key, int (&pages)[kPages]) const {
#pragma unroll
    for (int i = 0; i < kPages; ++i) {
      const int key = first_key + i * kKeysOfTile;
      pages[i] = key <= last_visible && key + kKeysOfTile > first_visible
                     ? table[key >> p.page_shift]
                     : 0;
    }
  }

  __device__ void load(int first_key, const int (&pages)[kPages], int stage) const {
    const uint32_t to = ring + stage * 2 * kPlaneBytes;
    const uint64_t key_plane = p.key.offset + kv_head * p.key.head_stride;
    const uint64_t value_plane = p.value.offset + kv_head * p.value.head_stride;
    constexpr int kChunksOfPage = kKeysOfTile * kChunks;
    static_assert(kChunksOfPage % kPrefillThreads == 0 || kPrefillThreads % 64 == 0);
#pragma unroll
    for (int page = 0; page < kPages; ++page) {
      const uint8_t* at = p.pages + static_cast<int64_t>(pages[page]) * p.page_bytes;
#pragma unroll
      for (int i = 0; i < (kChunksOfPage + kPrefillThreads - 1) / kPrefillThreads; ++i) {
        const int index = threadIdx.x + i * kPrefillThreads;
        if (kChunksOfPage % kPrefillThreads != 0 && index >= kChunksOfPage) continue;
        const int row = page * kKeysOfTile + index / kChunks, chunk = index % kChunks;
        const int key = first_key + row, slot = key & ((1 << p.page_shift) - 1);
        const bool is_visible = key >= first_visible && key <= last_visible;
        const uint32_t place = to + row * kRowBytes + chunk * 16;
        copy_or_clear(place, at + key_plane + slot * p.key.slot_stride + chunk * 16, is_visible);
        copy_or_clear(place + kPlaneBytes,
                      at + value_plane + slot * p.value.slot_stride + chunk * 16, is_visible);
      }
    }
  }

  __device__ void attend(int first_key, int stage) {
    const uint32_t keys = ring + stage * 2 * kPlaneBytes, values = keys + kPlaneBytes;
    float score[kBlocks][kKeys / 8][4] = {};
    const uint32_t query_at = queries_at + (warp * kBlocks * 16 + lane % 16) * kRowBytes +
                              lane / 16 * 16;
    const uint32_t key_at = keys + (lane % 8 + lane / 16 * 8) * kRowBytes + lane / 8 % 2 * 16;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[kBlocks][4];
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
        load_matrices(a[m], query_at + m * 16 * kRowBytes + k * 32);
      }
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, key_at + n * 16 * kRowBytes + k * 32);
#pragma unroll
        for (int m = 0; m < kBlocks; ++m) {
          Half16<E>::multiply(score[m][2 * n], a[m], b[0], b[1]);
          Half16<E>::multiply(score[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }

    float scale = p.softmax_scale * 1.4426950408889634f;
    if (p.softcap > 0) {
      const float inner = p.softmax_scale / p.softcap;
      scale = p.softcap * 1.4426950408889634f;
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int j = 0; j < 4; ++j) score[m][n][j] = fast_tanh(score[m][n][j] * inner);
        }
      }
    }
    const int first_position = position_of(0);
    if (first_key + kKeys - 1 > first_position ||
        (p.window > 0 && first_key <= last_visible - p.window)) {
      const int window = p.window > 0 ? p.window : INT32_MAX;
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int distance = position[m][j / 2] - (first_key + n * 8 + lane % 4 * 2 + j % 2);
            if (distance < 0 || distance >= window) score[m][n][j] = -INFINITY;
          }
        }
      }
    }

    uint32_t weights[kBlocks][kKeys / 16][4];
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float most = score[m][0][2 * i];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          most = fmaxf(most, fmaxf(score[m][n][2 * i], score[m][n][2 * i + 1]));
        }
        most = fmaxf(quad_max(most) * scale, largest[m][i]);
        const float shrink = power_of_2(largest[m][i] - most);
        largest[m][i] = most;
        float added = 0;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          float& low = score[m][n][2 * i];
          float& high = score[m][n][2 * i + 1];
          low = power_of_2(fmaf(low, scale, -most));
          high = power_of_2(fmaf(high, scale, -most));
          added += low + high;
          weights[m][n / 2][n % 2 * 2 + i] = Half16<E>::pack(low, high);
        }
        sum[m][i] = fmaf(sum[m][i], shrink, added);
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          out[m][n][2 * i] *= shrink;
          out[m][n][2 * i + 1] *= shrink;
        }
      }
    }

    const uint32_t value_at = values + (lane % 16) * kRowBytes + lane / 16 * 16;
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[4];
        load_transposed(b, value_at + k * 16 * kRowBytes + n * 32);
#pragma unroll
        for (int m = 0; m < kBlocks; ++m) {
          Half16<E>::multiply(out[m][2 * n], weights[m][k], b[0], b[1]);
          Half16<E>::multiply(out[m][2 * n + 1], weights[m][k], b[2], b[3]);
        }
      }
    }
  }

  __device__ void run() {
    const int32_t* table = p.tables.pages + p.tables.first[work.sequence];
    const int end = work.first_key + work.num_keys;
    int pages[kPages];
    find_pages(table, work.first_key, pages);
    load_queries();
    load(work.first_key, pages, 0);
    end_copy_group();
    find_pages(table, work.first_key + kKeys, pages);
    int stage = 0;
    for (int key = work.first_key; key < end; key += kKeys) {
      wait_for_copies<0>();
      __syncthreads();  // this stage is there, and everyone is done with the other
      if (key + kKeys < end) {
        load(key + kKeys, pages, stage ^ 1);
        end_copy_group();
        find_pages(table, key + 2 * kKeys, pages);
      }
      attend(key, stage);
      stage ^= 1;
    }
  }

  __device__ void write() const {
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float total = quad_sum(sum[m][i]);
        const int q = (warp * kBlocks + m) * 16 + lane / 4 + 8 * i;
        if (q >= work.num_queries) continue;
        const float factor = 1 / total;
        const int64_t at = row_head(q) * kDim + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          const float low = out[m][n][2 * i] * factor, high = out[m][n][2 * i + 1] * factor;
          if (p.out_format == Format::f32) {
            *reinterpret_cast<float2*>(static_cast<float*>(p.out) + at + n * 8) = make_float2(low,
                                                                                              high);
          } else {
            *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(p.out) + at +
                                         n * 8) = p.out_format == Format::f16
                                                      ? Half16<__half>::pack(low, high)
                                                      : Half16<__nv_bfloat16>::pack(low, high);
          }
        }
      }
    }
  }
};

// Grid: (KV heads, pieces of work at most).
template <typename E, int kDim>
__device__ void attend_prefill(const PagedAttentionParams& p) {
  extern __shared__ __align__(16) uint8_t shared[];
  let_next_start();
  wait_for_earlier();
  if (static_cast<int>(blockIdx.y) >= *p.num_work) return;
  Prefill<E, kDim> prefill(p, p.work[blockIdx.y], shared);
  prefill.run();
  prefill.write();
}

}  // namespace

#define KVI_ATTENTION_PREFILL(name, element, head_dim)                                        \
  extern "C" __global__ void __launch_bounds__(kPrefillThreads, 2)                            \
      attention_prefill_##name##_##head_dim(const __grid_constant__ PagedAttentionParams p) { \
    attend_prefill<element, head_dim>(p);                                                     \
  }
KVI_ATTENTION_PREFILL(f16, __half, 64)
KVI_ATTENTION_PREFILL(f16, __half, 96)
KVI_ATTENTION_PREFILL(f16, __half, 128)
KVI_ATTENTION_PREFILL(f16, __half, 256)
KVI_ATTENTION_PREFILL(bf16, __nv_bfloat16, 64)
KVI_ATTENTION_PREFILL(bf16, __nv_bfloat16, 96)
KVI_ATTENTION_PREFILL(bf16, __nv_bfloat16, 128)
KVI_ATTENTION_PREFILL(bf16, __nv_bfloat16, 256)

}  // namespace kvi::cuda
