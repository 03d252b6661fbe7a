// The streamed matrix product for few tokens: weights go once from memory to the tensor cores, never exchanged
// between lanes.
//
// The weights' 16 rows by 16 columns are the left operand of mma.sync, 8 tokens the right one. A sum over
// columns may be taken in any order that both share, so a lane takes 8 neighbouring columns of a row, 16 bytes, as its
// part of two products. Each warp keeps kDepth units of its own under way in shared memory, which only it reads, and
// goes on to the units of its next rows without a pause; nothing but the final sum waits for another warp.
//
// A value's sum has one order for all shapes with the same kColWarps, whatever the number of tokens.
#pragma once

#include "linear_tiles.cuh"

namespace kvi::cuda {

// Warps and tiles of a thread block. Its kRowWarps * kRowTiles tiles of 16 rows meet kTokenTiles * 8 tokens.
template <int TokenTiles, int ColWarps, int RowWarps, int RowTiles, int Depth>
struct StreamShape {
  static constexpr int kTokenTiles = TokenTiles;
  static constexpr int kColWarps = ColWarps;  // units of a row go round them
  static constexpr int kRowWarps = RowWarps;
  static constexpr int kRowTiles = RowTiles;  // of a warp
  static constexpr int kDepth = Depth;        // units under way
  static constexpr int kTiles = RowWarps * RowTiles;
  static constexpr int kThreads = 32 * ColWarps * RowWarps;
  static constexpr int kPitch = kTiles * kTileRows + 4;  // of a token's sums; no two lanes meet in a bank
  static constexpr int kSums = ColWarps * TokenTiles * 8 * kPitch;
};

template <typename Weights, typename Shape>
constexpr int stream_shared_bytes() {
  return Shape::kSums * 4 +
         Shape::kThreads / 32 * Shape::kDepth * Shape::kRowTiles * Weights::kSlotBytes;
}

// Grid: (any number that takes turns with the groups of kTiles tiles, tokens / (8 kTokenTiles) rounded up). Dynamic
// shared memory: stream_shared_bytes.
template <typename Weights, typename Shape>
__device__ void stream(const StreamParams& p) {
  constexpr int kTokenTiles = Shape::kTokenTiles, kRowTiles = Shape::kRowTiles;
  constexpr int kColWarps = Shape::kColWarps, kDepth = Shape::kDepth;
  constexpr int kSlot = Weights::kSlotBytes;
  extern __shared__ __align__(128) uint8_t shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int col_warp = warp % kColWarps, row_warp = warp / kColWarps;
  const int num_units = static_cast<int>(p.cols / Weights::kUnitLen);
  const int num_groups = p.num_tile_groups;
  float* meet = reinterpret_cast<float*>(shared);
  uint8_t* slots = shared + Shape::kSums * 4 + warp * (kDepth * kRowTiles * kSlot);

  // What is fetched next: this warp's units of a group, then those of the block's next group.
  int next_group = col_warp < num_units ? blockIdx.x : num_groups, next_unit = col_warp;
  int next_slot = 0;
  static_assert(kRowTiles <= 2);
  const auto weights_of = [&](int group, int r) {
    const TileOfRows tile =
        tile_of(p, int64_t{group} * Shape::kTiles + row_warp * kRowTiles + r);
    return Weights(p, p.weights[tile.weight], tile.tile, lane);
  };
  Weights first = weights_of(blockIdx.x, 0), second = weights_of(blockIdx.x, kRowTiles - 1);
  const auto fetch_next = [&] {
    if (next_group < num_groups) {
      uint8_t* slot = slots + next_slot * kRowTiles * kSlot;
      first.fetch(slot, next_unit, lane);
      if constexpr (kRowTiles == 2) second.fetch(slot + kSlot, next_unit, lane);
      next_unit += kColWarps;
      if (next_unit >= num_units) {
        next_unit = col_warp;
        next_group += gridDim.x;
        if (next_group < num_groups) {
          first = weights_of(next_group, 0);
          if constexpr (kRowTiles == 2) second = weights_of(next_group, 1);
        }
      }
    }
    commit_copies();
    next_slot = next_slot + 1 == kDepth ? 0 : next_slot + 1;
  };
#pragma unroll 1
  for (int d = 0; d < kDepth; ++d) fetch_next();
  start_grid_after();
  wait_for_grid_before();

  const int first_token = blockIdx.y * (8 * kTokenTiles);
  const uint8_t* x = static_cast<const uint8_t*>(p.x) + lane % 4 * 16;
  uint32_t token_at[kTokenTiles];
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
    // Past the last token its sum is computed again, and dropped.
    token_at[n] = static_cast<uint32_t>(min(first_token + 8 * n + lane / 4, p.num_tokens - 1)) *
                  static_cast<uint32_t>(p.cols * 2);
  }

  int slot = 0;
#pragma unroll 1
  for (int group = blockIdx.x; group < num_groups; group += gridDim.x) {
    float sums[kRowTiles][kTokenTiles][4] = {};
#pragma unroll 1
    for (int unit = col_warp; unit < num_units; unit += kColWarps) {
      wait_for_copies<kDepth - 1>();
      __syncwarp();
      {
        const uint8_t* at = slots + slot * kRowTiles * kSlot;
        const typename Weights::Reader reader(at, lane),
            reader2(at + (kRowTiles - 1) * kSlot, lane);
        const uint8_t* x_unit = x + int64_t{unit} * (Weights::kUnitLen * 2);
#pragma unroll
        for (int s = 0; s < Weights::kUnitLen / kStepCols; ++s) {
          uint32_t a[kRowTiles][2][4];
          reader.step(s, a[0]);
          if constexpr (kRowTiles == 2) reader2.step(s, a[1]);
          uint4 b[kTokenTiles];
#pragma unroll
          for (int n = 0; n < kTokenTiles; ++n) {
            b[n] = *reinterpret_cast<const uint4*>(x_unit + token_at[n] + s * 64);
          }
          multiply_step<typename Weights::Half>(sums, a, b);
        }
      }
      __syncwarp();  // the slot has been read
      fetch_next();
      slot = slot + 1 == kDepth ? 0 : slot + 1;
    }

    // The warps' sums meet in shared memory, [col_warp][token][row].
    constexpr int kRows = Shape::kTiles * kTileRows, kPitch = Shape::kPitch;
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        float* to = meet + ((col_warp * kTokenTiles + n) * 8 + lane % 4 * 2) * kPitch +
                    (row_warp * kRowTiles + r) * kTileRows + lane / 4;
        to[0] = sums[r][n][0];
        to[kPitch] = sums[r][n][1];
        to[8] = sums[r][n][2];
        to[kPitch + 8] = sums[r][n][3];
      }
    }
    __syncthreads();
    const int num_tokens = min(8 * kTokenTiles, p.num_tokens - first_token);
    const auto sum_at = [&](int token, int row) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kColWarps; ++w) {
        sum += meet[(w * kTokenTiles * 8 + token) * kPitch + row];
      }
      return sum;
    };
    if (p.gate == StreamGate::none) {
      for (int i = threadIdx.x; i < num_tokens * kRows; i += Shape::kThreads) {
        const int token = i / kRows, row = i % kRows;
        const TileOfRows tile = tile_of(p, int64_t{group} * Shape::kTiles + row / kTileRows);
        finish(p, tile, row % kTileRows, first_token + token, sum_at(token, row), 0);
      }
    } else {
      for (int i = threadIdx.x; i < num_tokens * (kRows / 2); i += Shape::kThreads) {
        const int token = i / (kRows / 2), pair = i % (kRows / 2) / kTileRows;
        const int row = pair * 2 * kTileRows + i % kTileRows;
        const TileOfRows tile = tile_of(p, int64_t{group} * Shape::kTiles + 2 * pair);
        finish(p, tile, i % kTileRows, first_token + token, sum_at(token, row),
               sum_at(token, row + kTileRows));
      }
    }
    __syncthreads();
  }
  wait_for_copies<0>();
}

}  // namespace kvi::cuda
