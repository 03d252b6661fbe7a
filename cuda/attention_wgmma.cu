// Paged attention of many query rows a sequence, on Hopper (sm_90a): bound by arithmetic.
//
// One thread block an SM takes tiles of the list in turn. One warp loads keys and values, 16 slots by 64 values a
// bulk tensor copy, ahead into the next tile; two warpgroups have 64 packed queries each. A warpgroup multiplies
// the next keys while it still adds the last values, and the two take turns at issuing, so that one's
// exponentials run under the other's products.
#include "attention_ops.cuh"
#include "bulk_copies.cuh"
#include "group_products.cuh"
#include "paged_attention.h"

namespace kvi::cuda {
namespace {

#if __CUDA_ARCH__ >= 900

// Named barriers; 0 is __syncthreads.
constexpr int kTurn = 1;     // + warpgroup: it may issue
constexpr int kOfGroup = 3;  // + warpgroup: among its own threads

template <typename E, int kDim>
struct Shared {
  static constexpr int kRowBytes = 128;
  static constexpr int kHalves = kDim / 64;  // a row of values is kHalves planes of 128 bytes
  static constexpr int kPlaneBytes = kGroupKeys * kRowBytes;
  static constexpr int kTileBytes = kHalves * kPlaneBytes;  // of keys or values
  static constexpr int kGroupBytes = 64 * kDim * 2;         // a warpgroup's queries

  uint32_t base;  // a multiple of 1024
  __device__ uint32_t queries(int group) const { return base + group * kGroupBytes; }
  __device__ uint32_t keys(int stage) const { return base + 2 * kGroupBytes + stage * kTileBytes; }
  __device__ uint32_t values(int stage) const { return keys(kGroupStages + stage); }
  // Of stages of keys, then of values.
  __device__ uint32_t full(int stage) const { return keys(2 * kGroupStages) + stage * 8; }
  __device__ uint32_t empty(int stage) const { return full(2 * kGroupStages + stage); }
};

// Where a tile of packed queries is, and what it sees.
struct Tile {
  int sequence, first_row, first_position, first_query, num_queries, first_key, num_tiles;
  int kv_head, group, num_heads;
  int first_visible, last_visible;

  __device__ int position_of(int q) const { return first_position + (first_query + q) / group; }
  __device__ int64_t row_head(int q) const {
    const int packed = first_query + q;
    return int64_t{first_row + packed / group} * num_heads + kv_head * group + packed % group;
  }
};

// The tiles of this thread block. They are listed longest first, all KV heads of one together; every second
// round goes backwards, so that no block has the longest of each.
struct Turns {
  const PagedAttentionParams& p;
  const int total;
  int round = 0;

  // False behind the last one.
  __device__ bool next(Tile& tile) {
    const int blocks = gridDim.x, me = blockIdx.x;
    for (;; ++round) {
      if (round * blocks >= total) return false;
      if (round * blocks + (round % 2 ? blocks - 1 - me : me) < total) break;
    }
    const int index = round * blocks + (round % 2 ? blocks - 1 - me : me);
    ++round;
    const AttentionWork& work = p.work[index / p.num_kv_heads];
    tile.sequence = work.sequence;
    tile.first_row = work.first_row;
    tile.first_position = work.first_position;
    tile.first_query = work.first_query;
    tile.num_queries = work.num_queries;
    tile.first_key = work.first_key;
    tile.num_tiles = (work.num_keys + kGroupKeys - 1) / kGroupKeys;
    tile.kv_head = index % p.num_kv_heads;
    tile.group = p.num_heads / p.num_kv_heads;
    tile.num_heads = p.num_heads;
    tile.last_visible = tile.position_of(tile.num_queries - 1);
    tile.first_visible = p.window > 0 ? max(0, tile.position_of(0) + 1 - p.window) : 0;
    return true;
  }
};

// One warp: lane i copies box i of a tile's keys or values, of which a run of 16 slots has kHalves.
template <typename E, int kDim>
__device__ void load_tiles(const PagedAttentionMaps& maps, Turns turns,
                           const Shared<E, kDim>& shared) {
  using S = Shared<E, kDim>;
  constexpr int kBoxes = kGroupKeys / kKeysOfTile * S::kHalves;
  static_assert(kBoxes <= 32);
  const PagedAttentionParams& p = maps.common;
  const int lane = threadIdx.x % 32;
  const int run = lane / S::kHalves, half = lane % S::kHalves;
  const uint32_t place = half * S::kPlaneBytes + run * kKeysOfTile * S::kRowBytes;
  Tile tile;
  for (int before = 0; turns.next(tile); before += tile.num_tiles) {
    const int32_t* table = p.tables.pages + p.tables.first[tile.sequence];
    const auto key_of = [&](int t) { return tile.first_key + t * kGroupKeys + run * kKeysOfTile; };
    const auto page_of = [&](int t) {
      // No such page: the box is filled with zeros.
      const int key = key_of(t);
      return lane < kBoxes && key <= tile.last_visible && key + kKeysOfTile > tile.first_visible
                 ? table[key >> p.page_shift]
                 : -1;
    };
    // Keys have the stages from 0, values those from kGroupStages.
    const auto copy = [&](const TensorMap& map, int first_stage, int t, int page) {
      const int count = before + t, stage = first_stage + count % kGroupStages;
      wait_for_phase(shared.empty(stage), (count / kGroupStages & 1) ^ 1);
      if (lane == 0) expect_bytes(shared.full(stage), S::kTileBytes);
      __syncwarp();
      if (lane < kBoxes) {
        copy_box(shared.keys(stage) + place, map, half * 64, key_of(t) & ((1 << p.page_shift) - 1),
                 tile.kv_head, page, shared.full(stage));
      }
    };
    int page = page_of(0), next_page = page_of(1), page_of_values = page;
    for (int t = 0; t <= tile.num_tiles; ++t) {
      if (t < tile.num_tiles) copy(maps.key, 0, t, page);
      if (t > 0) copy(maps.value, kGroupStages, t - 1, page_of_values);
      page_of_values = page;
      page = next_page;
      next_page = page_of(t + 2);
    }
  }
}

template <typename E, int kDim>
struct Consumer {
  using S = Shared<E, kDim>;
  const PagedAttentionParams& p;
  const S shared;
  const int me, thread, warp, lane;  // of two warpgroups; of its threads

  float out[kDim / 8][4];
  float score[kGroupKeys / 8][4];
  uint32_t weights[kGroupKeys / 16][4];
  float largest[2], sum[2], shrink[2];
  int position[2];
  Tile tile;

  __device__ Consumer(const PagedAttentionParams& params, const S& s)
      : p(params),
        shared(s),
        me(threadIdx.x / 128 - 1),
        thread(threadIdx.x % 128),
        warp(thread / 32),
        lane(threadIdx.x % 32) {}

  // Begins to copy the warpgroup's part; publish_queries waits for it.
  __device__ void load_queries(const Tile& tile) const {
    const E* queries = static_cast<const E*>(p.queries);
    constexpr int kChunks = kDim / 8;
    for (int i = thread; i < 64 * kChunks; i += 128) {
      const int row = i / kChunks, chunk = i % kChunks, q = me * 64 + row;
      const bool is_there = q < tile.num_queries;
      copy_or_clear(shared.queries(me) + chunk / 8 * 64 * S::kRowBytes + row * S::kRowBytes +
                        ((chunk ^ row) & 7) * 16,
                    queries + (is_there ? tile.row_head(q) : 0) * kDim + chunk * 8, is_there);
    }
    end_copy_group();
  }
  __device__ void publish_queries() const {
    wait_for_copies<0>();
    publish();
  }
  // What the warpgroup's threads wrote to shared memory is seen by its products.
  __device__ void publish() const {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    sync_named(kOfGroup + me, 128);
  }

  __device__ void multiply_keys(int stage) {
    hold(score);
    begin_products();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const uint32_t in_half = k % 4 * 32;
      GroupProducts<E>::multiply_keys(
          score, swizzled_matrix(shared.queries(me) + k / 4 * 64 * S::kRowBytes + in_half, 16),
          swizzled_matrix(shared.keys(stage) + k / 4 * S::kPlaneBytes + in_half, 16), k > 0);
    }
    end_products();
  }
  __device__ void multiply_values(int stage) {
    hold(out);
    begin_products();
#pragma unroll
    for (int k = 0; k < kGroupKeys / 16; ++k) {
      GroupProducts<E>::multiply_values(
          out, weights[k],
          swizzled_matrix(shared.values(stage) + k * 16 * S::kRowBytes, S::kPlaneBytes));
    }
    end_products();
  }
  __device__ void release(int stage) const {
    if (lane == 0) arrive(shared.empty(stage));
  }
  // Slots that nobody sees may hold anything, and no weight makes a NaN a zero.
  __device__ void clear_unseen_values(int t, int stage) const {
    const int first_key = tile.first_key + t * kGroupKeys;
    if (first_key >= tile.first_visible && first_key + kGroupKeys - 1 <= tile.last_visible) return;
    for (int i = thread; i < kGroupKeys * S::kHalves * 8; i += 128) {
      const int row = i / 8 % kGroupKeys;
      if (first_key + row >= tile.first_visible && first_key + row <= tile.last_visible) continue;
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(shared.values(stage) + i * 16),
                   "r"(0)
                   : "memory");
    }
    publish();
  }

  // Once the tile's last keys are multiplied, the next tile's queries take the place of its own.
  __device__ void load_next_queries(const Tile& next) const {
    sync_named(kOfGroup + me, 128);
    load_queries(next);
  }

  // The scores become weights (in f32), and shrink what `out` is to be multiplied by.
  __device__ void weigh(int t) {
    float scale = p.softmax_scale * 1.4426950408889634f;
    if (p.softcap > 0) {
      const float inner = p.softmax_scale / p.softcap;
      scale = p.softcap * 1.4426950408889634f;
#pragma unroll
      for (int n = 0; n < kGroupKeys / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) score[n][j] = fast_tanh(score[n][j] * inner);
      }
    }
    const int first_key = tile.first_key + t * kGroupKeys;
    if (first_key + kGroupKeys - 1 > tile.position_of(0) ||
        (p.window > 0 && first_key <= tile.last_visible - p.window)) {
      const int window = p.window > 0 ? p.window : INT32_MAX;
#pragma unroll
      for (int n = 0; n < kGroupKeys / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int distance = position[j / 2] - (first_key + n * 8 + lane % 4 * 2 + j % 2);
          if (distance < 0 || distance >= window) score[n][j] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float most = score[0][2 * i];
#pragma unroll
      for (int n = 0; n < kGroupKeys / 8; ++n) {
        most = fmaxf(most, fmaxf(score[n][2 * i], score[n][2 * i + 1]));
      }
      most = fmaxf(quad_max(most) * scale, largest[i]);
      shrink[i] = power_of_2(largest[i] - most);
      largest[i] = most;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kGroupKeys / 8; ++n) {
        score[n][2 * i] = power_of_2(fmaf(score[n][2 * i], scale, -most));
        score[n][2 * i + 1] = power_of_2(fmaf(score[n][2 * i + 1], scale, -most));
        added += score[n][2 * i] + score[n][2 * i + 1];
      }
      sum[i] = fmaf(sum[i], shrink[i], added);
    }
  }
  __device__ void round_weights() {
#pragma unroll
    for (int k = 0; k < kGroupKeys / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[k][i] = Half16<E>::pack(score[2 * k + i / 2][i % 2 * 2],
                                        score[2 * k + i / 2][i % 2 * 2 + 1]);
      }
    }
  }

  // before: tiles of keys before this tile's. next: where has_next.
  __device__ void attend(int before, const Tile& next, bool has_next) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      position[i] = tile.position_of(me * 64 + warp * 16 + lane / 4 + 8 * i);
      largest[i] = kNoScore;
      sum[i] = 0;
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[n][j] = 0;
    }
    const auto wait_for = [&](int first_stage, int count) {
      wait_for_phase(shared.full(first_stage + count % kGroupStages), count / kGroupStages & 1);
    };
    const int num_tiles = tile.num_tiles;
    publish_queries();
    wait_for(0, before);
    sync_named(kTurn + me, 256);
    multiply_keys(before % kGroupStages);
    arrive_named(kTurn + (me ^ 1), 256);
    wait_for_products<0>();
    hold(score);
    release(before % kGroupStages);
    if (num_tiles == 1 && has_next) load_next_queries(next);
    weigh(0);
    round_weights();
    for (int t = 1; t < num_tiles; ++t) {
      const int stage = (before + t) % kGroupStages, last = (before + t - 1) % kGroupStages;
      wait_for(0, before + t);
      wait_for(kGroupStages, before + t - 1);
      clear_unseen_values(t - 1, last);
      sync_named(kTurn + me, 256);
      multiply_keys(stage);
      multiply_values(last);
      arrive_named(kTurn + (me ^ 1), 256);
      wait_for_products<1>();
      hold(score);
      release(stage);
      if (t == num_tiles - 1 && has_next) load_next_queries(next);
      weigh(t);
      wait_for_products<0>();
      hold(out);
      release(kGroupStages + last);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) out[n][j] *= shrink[j / 2];
      }
      round_weights();
    }
    const int last = (before + num_tiles - 1) % kGroupStages;
    wait_for(kGroupStages, before + num_tiles - 1);
    clear_unseen_values(num_tiles - 1, last);
    multiply_values(last);
    wait_for_products<0>();
    hold(out);
    release(kGroupStages + last);
  }

  __device__ void run(Turns turns) {
    if (me == 1) arrive_named(kTurn, 256);  // the other goes first
    bool is_there = turns.next(tile);
    if (is_there) load_queries(tile);
    int before = 0;
    while (is_there) {
      Tile next = tile;
      is_there = turns.next(next);
      attend(before, next, is_there);
      write();
      before += tile.num_tiles;
      tile = next;
    }
    if (me == 0) sync_named(kTurn, 256);  // so that every arrival meets its wait
  }

  __device__ void write() const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float factor = 1 / quad_sum(sum[i]);
      const int q = me * 64 + warp * 16 + lane / 4 + 8 * i;
      if (q >= tile.num_queries) continue;
      const int64_t at = tile.row_head(q) * kDim + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float low = out[n][2 * i] * factor, high = out[n][2 * i + 1] * factor;
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
};

// Grid: a thread block an SM, or fewer.
template <typename E, int kDim>
__device__ void attend_by_groups(const PagedAttentionMaps& maps) {
  extern __shared__ uint8_t memory[];
  const PagedAttentionParams& p = maps.common;
  const Shared<E, kDim> shared = {(shared_address(memory) + 1023) / 1024 * 1024};
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2 * kGroupStages; ++i) {
      make_barrier(shared.full(i), 1);
      make_barrier(shared.empty(i), 8);  // a lane of each consuming warp
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  let_next_start();
  wait_for_earlier();
  const Turns turns = {p, *p.num_work * p.num_kv_heads};
  if (threadIdx.x < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x < 32) load_tiles<E, kDim>(maps, turns, shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    Consumer<E, kDim> consumer(p, shared);
    consumer.run(turns);
  }
}

#else

template <typename E, int kDim>
__device__ void attend_by_groups(const PagedAttentionMaps&) {}

#endif

}  // namespace

#define KVI_ATTENTION_WGMMA(name, element, head_dim)                                         \
  extern "C" __global__ void __launch_bounds__(kGroupThreads, 1)                             \
      attention_wgmma_##name##_##head_dim(const __grid_constant__ PagedAttentionMaps maps) { \
    attend_by_groups<element, head_dim>(maps);                                               \
  }
KVI_ATTENTION_WGMMA(f16, __half, 64)
KVI_ATTENTION_WGMMA(f16, __half, 128)
KVI_ATTENTION_WGMMA(bf16, __nv_bfloat16, 64)
KVI_ATTENTION_WGMMA(bf16, __nv_bfloat16, 128)

}  // namespace kvi::cuda
