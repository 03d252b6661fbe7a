// The matrix product for a batch: a cluster of thread blocks shares the columns of a group of rows, and each block reads
// its tokens once for all of them.
//
// As in stream_linear.cuh weights are the left operand and travel to one warp only; but the tokens' columns of a unit are
// fetched beside them into shared memory, for all warps of the block. The blocks of a cluster have equal parts of the
// columns, and add their sums in the order of their ranks.
//
// A value's sum has one order for a cluster's size, whatever the number of tokens.
#pragma once

#include "linear_tiles.cuh"

namespace kvi::cuda {

template <int TokenTiles, int RowWarps, int RowTiles, int Depth>
struct BatchShape {
  static constexpr int kTokenTiles = TokenTiles;
  static constexpr int kRowWarps = RowWarps;
  static constexpr int kRowTiles = RowTiles;
  static constexpr int kDepth = Depth;
  static constexpr int kTiles = RowWarps * RowTiles;
  static constexpr int kThreads = 32 * RowWarps;
  static constexpr int kPitch = kTiles * kTileRows + 4;
  static constexpr int kSums = TokenTiles * 8 * kPitch;
};

template <typename Weights, typename Shape>
constexpr int batch_shared_bytes() {
  constexpr int kStage = Shape::kTiles * Weights::kSlotBytes + Shape::kTokenTiles * 8 * Weights::kUnitLen * 2;
  constexpr int kFetched = Shape::kDepth * kStage;
  return kFetched > Shape::kSums * 4 ? kFetched : Shape::kSums * 4;
}

// Four rows of a token: the sums of all blocks.
template <int kRanks>
__device__ inline void sum_of_blocks(const float* local, float (&sums)[4]) {
  float4 of[kRanks];  // all under way before the first is added
#pragma unroll
  for (int r = 0; r < kRanks; ++r) {
    of[r] = kRanks == 1 ? *reinterpret_cast<const float4*>(local) : read_of_block(local, r);
  }
  sums[0] = of[0].x, sums[1] = of[0].y, sums[2] = of[0].z, sums[3] = of[0].w;
#pragma unroll
  for (int r = 1; r < kRanks; ++r) {
    sums[0] += of[r].x, sums[1] += of[r].y, sums[2] += of[r].z, sums[3] += of[r].w;
  }
}

// What becomes of the sums in shared memory, [token][row]. The blocks of a cluster take turns with them.
template <typename Shape, int kRanks>
__device__ void finish_batch(const StreamParams& p, const float* meet, int64_t first_tile,
                             int first_token) {
  const bool is_gated = p.gate != StreamGate::none;
  const int num_rows = Shape::kTiles * kTileRows >> (is_gated ? 1 : 0);  // a power of two
  const int num_tokens = min(8 * Shape::kTokenTiles, p.num_tokens - first_token);
  const int shift = 31 - __clz(num_rows);
  for (int i = (blockIdx.x * Shape::kThreads + threadIdx.x) * 4; i < num_tokens << shift;
       i += kRanks * Shape::kThreads * 4) {
    const int token = i >> shift, r = i & (num_rows - 1), row_of_tile = r % kTileRows;
    const int index = is_gated ? r / kTileRows * 2 : r / kTileRows;
    const float* local = meet + token * Shape::kPitch + index * kTileRows + row_of_tile;
    float sums[4], up_sums[4] = {};
    sum_of_blocks<kRanks>(local, sums);
    if (is_gated) sum_of_blocks<kRanks>(local + kTileRows, up_sums);
    const TileOfRows tile = tile_of(p, first_tile + index);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      finish(p, tile, row_of_tile + k, first_token + token, sums[k], up_sums[k]);
    }
  }
}

// Grid: (cluster size, groups of kTiles tiles, tokens / (8 kTokenTiles) rounded up); clusters of 1, 2, 4 or 8 along x. Dynamic shared memory:
// batch_shared_bytes.
template <typename Weights, typename Shape>
__device__ void batch(const StreamParams& p) {
  constexpr int kTokenTiles = Shape::kTokenTiles, kRowTiles = Shape::kRowTiles;
  constexpr int kDepth = Shape::kDepth, kSlot = Weights::kSlotBytes;
  constexpr int kTokenBytes = Weights::kUnitLen * 2;  // of one token in a unit
  constexpr int kTokenPieces = kTokenBytes / 16;
  constexpr int kStage = Shape::kTiles * kSlot + kTokenTiles * 8 * kTokenBytes;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int all_units = static_cast<int>(p.cols / Weights::kUnitLen);
  const int rank = blockIdx.x, num_ranks = gridDim.x;
  const int begin = all_units * rank / num_ranks;
  const int num_units = all_units * (rank + 1) / num_ranks - begin;
  const int64_t first_tile = int64_t{blockIdx.y} * Shape::kTiles;

  static_assert(kRowTiles <= 2);
  const auto weights_of = [&](int r) {
    const TileOfRows tile = tile_of(p, first_tile + warp * kRowTiles + r);
    return Weights(p, p.weights[tile.weight], tile.tile, lane);
  };
  const Weights first = weights_of(0), second = weights_of(kRowTiles - 1);
  const int first_token = blockIdx.z * (8 * kTokenTiles);
  const uint8_t* x = static_cast<const uint8_t*>(p.x);
  const int last_token = p.num_tokens - 1;

  const auto fetch_weights = [&](int unit) {
    if (unit < num_units) {
      uint8_t* slot = shared + unit % kDepth * kStage + warp * kRowTiles * kSlot;
      first.fetch(slot, begin + unit, lane);
      if constexpr (kRowTiles == 2) second.fetch(slot + kSlot, begin + unit, lane);
    }
  };
  // Tokens lie one after another. Every second one has its steps of 64 bytes exchanged in pairs: then the eight lanes that
  // are served at once, of two tokens, meet in no bank.
  const auto fetch_tokens = [&](int unit) {
    if (unit < num_units) {
      uint8_t* to = shared + unit % kDepth * kStage + Shape::kTiles * kSlot;
      constexpr int kPieces = kTokenTiles * 8 * kTokenPieces;
#pragma unroll
      for (int i = 0; i < kPieces; i += Shape::kThreads) {
        const int piece = i + threadIdx.x;
        if (kPieces % Shape::kThreads == 0 || piece < kPieces) {
          const int token = piece / kTokenPieces, at = piece % kTokenPieces;
          const int64_t from = int64_t{min(first_token + token, last_token)} * p.cols +
                               int64_t{begin + unit} * Weights::kUnitLen + at * 8;
          copy_async(to + token * kTokenBytes + (at ^ (token % 2 * 4)) * 16, x + from * 2);
        }
      }
    }
  };
#pragma unroll
  for (int d = 0; d < kDepth - 1; ++d) fetch_weights(d);
  start_grid_after();
  wait_for_grid_before();
#pragma unroll
  for (int d = 0; d < kDepth - 1; ++d) {
    fetch_tokens(d);
    commit_copies();  // the first group holds all weights so far
  }

  float sums[kRowTiles][kTokenTiles][4] = {};
  const int lane_token = lane / 4 * kTokenBytes + lane % 4 * 16;
#pragma unroll 1
  for (int unit = 0; unit < num_units; ++unit) {
    wait_for_copies<kDepth - 2>();
    __syncthreads();  // the unit has arrived; the one before has been read
    fetch_weights(unit + kDepth - 1);
    fetch_tokens(unit + kDepth - 1);
    commit_copies();
    const uint8_t* stage = shared + unit % kDepth * kStage;
    const uint8_t* at = stage + warp * kRowTiles * kSlot;
    const typename Weights::Reader reader(at, lane), reader2(at + (kRowTiles - 1) * kSlot, lane);
    const uint8_t* tokens = stage + Shape::kTiles * kSlot + lane_token;
#pragma unroll
    for (int s = 0; s < Weights::kUnitLen / kStepCols; ++s) {
      uint32_t a[kRowTiles][2][4];
      reader.step(s, a[0]);
      if constexpr (kRowTiles == 2) reader2.step(s, a[1]);
      const int step_at = (s * 64) ^ (lane / 4 % 2 * 64);
      uint4 b[kTokenTiles];
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        b[n] = *reinterpret_cast<const uint4*>(tokens + n * 8 * kTokenBytes + step_at);
      }
      multiply_step<typename Weights::Half>(sums, a, b);
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  constexpr int kRows = Shape::kTiles * kTileRows, kPitch = Shape::kPitch;
  float* meet = reinterpret_cast<float*>(shared);  // [token][row]
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float* to = meet + (n * 8 + lane % 4 * 2) * kPitch + (warp * kRowTiles + r) * kTileRows +
                  lane / 4;
      to[0] = sums[r][n][0];
      to[kPitch] = sums[r][n][1];
      to[8] = sums[r][n][2];
      to[kPitch + 8] = sums[r][n][3];
    }
  }
  meet_cluster();
  switch (num_ranks) {
    case 8: finish_batch<Shape, 8>(p, meet, first_tile, first_token); break;
    case 4: finish_batch<Shape, 4>(p, meet, first_tile, first_token); break;
    case 2: finish_batch<Shape, 2>(p, meet, first_tile, first_token); break;
    default: finish_batch<Shape, 1>(p, meet, first_tile, first_token); break;
  }
  if (num_ranks > 1) meet_cluster();  // nobody leaves while its sums are read
}

}  // namespace kvi::cuda
