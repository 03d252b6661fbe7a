// What the fast matrix products share: where weights lie, how they travel to a lane, and what becomes of a sum.
#pragma once

#include "mma.cuh"
#include "packed.cuh"
#include "stream_linear.h"

namespace kvi::cuda {

// Where a warp finds a tile of rows, and how a unit of it travels.
template <typename H>
struct RowMajor {
  using Half = H;
  static constexpr int kUnitLen = 64, kSlotBytes = 2048;

  const uint8_t* rows[2];  // this lane's first 16 bytes of rows g and g + 8

  __device__ RowMajor(const StreamParams& p, const StreamedWeight& weight, int64_t tile, int lane) {
    for (int i = 0; i < 2; ++i) {
      const int64_t row = min(tile * kTileRows + lane / 4 + 8 * i, weight.rows - 1);
      rows[i] = weight.data + row * p.row_bytes + lane % 4 * 16;
    }
  }
  __device__ void fetch(uint8_t* slot, int64_t unit, int lane) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      copy_async(slot + i * 512 + lane * 16, rows[i % 2] + unit * 128 + i / 2 * 64);
    }
  }
  struct Reader {
    const uint8_t* at;
    __device__ Reader(const uint8_t* slot, int lane) : at(slot + lane * 16) {}
    __device__ void step(int s, uint32_t (&weights)[2][4]) const {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint4 piece = *reinterpret_cast<const uint4*>(at + s * 1024 + row * 512);
        weights[row][0] = piece.x, weights[row][1] = piece.y;
        weights[row][2] = piece.z, weights[row][3] = piece.w;
      }
    }
  };
};

template <Format F>
struct Packed {
  using Half = __half;
  using Reader = PackedReader<F>;
  static constexpr int kUnitLen = kPackedUnit<F>.len, kSlotBytes = kPackedUnit<F>.bytes;

  const uint8_t* tile_at;

  __device__ Packed(const StreamParams& p, const StreamedWeight& weight, int64_t tile, int)
      : tile_at(weight.data + tile * (p.cols / kUnitLen) * kSlotBytes) {}
  __device__ void fetch(uint8_t* slot, int64_t unit, int lane) const {
    const uint8_t* from = tile_at + unit * kSlotBytes;
#pragma unroll
    for (int at = 0; at < kSlotBytes; at += 512) {
      if (at + 512 <= kSlotBytes || lane * 16 < kSlotBytes - at) {
        copy_async(slot + at + lane * 16, from + at + lane * 16);
      }
    }
  }
};

struct TileOfRows {
  int weight;
  int64_t tile;
  bool is_past;  // the last tile: it is computed again, and dropped
};
// Of gate and up tiles alternate.
__device__ inline TileOfRows tile_of(const StreamParams& p, int64_t index) {
  if (p.gate != StreamGate::none) {
    const int64_t last = (p.weights[0].rows + kTileRows - 1) / kTileRows - 1;
    return {static_cast<int>(index % 2), min(index / 2, last), index / 2 > last};
  }
  int weight = 0;
  int64_t num_tiles = (p.weights[0].rows + kTileRows - 1) / kTileRows;
  while (weight + 1 < p.num_weights && index >= num_tiles) {
    index -= num_tiles;
    ++weight;
    num_tiles = (p.weights[weight].rows + kTileRows - 1) / kTileRows;
  }
  return {weight, min(index, num_tiles - 1), index >= num_tiles};
}

__device__ inline float gated(StreamGate gate, float x, float up) {
  // 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  const float u = gate == StreamGate::gelu_tanh ? fmaf(x * x * x, 0.044715f, x) * 1.5957691216057308f
                                                : x;
  return x / (1.0f + expf(-u)) * up;
}

__device__ inline void put(const StreamParams& p, void* out, int64_t at, float value) {
  switch (p.output) {
    case StreamOutput::f32: static_cast<float*>(out)[at] = value; break;
    case StreamOutput::add_f32: static_cast<float*>(out)[at] += value; break;
    case StreamOutput::f16:
      static_cast<__half*>(out)[at] = __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
      break;
    case StreamOutput::bf16: static_cast<__nv_bfloat16*>(out)[at] = __float2bfloat16_rn(value); break;
  }
}

// A finished sum of a tile's row; where tiles are gate and up, of gate, and up's beside it.
__device__ inline void finish(const StreamParams& p, const TileOfRows& tile, int row_of_tile, int token,
                              float sum, float up_sum) {
  const StreamedWeight& weight = p.weights[tile.weight];
  const int64_t row = tile.tile * kTileRows + row_of_tile;
  if (tile.is_past || token >= p.num_tokens || row >= weight.rows) return;
  if (weight.bias != nullptr) sum += weight.bias[row];
  if (p.gate != StreamGate::none) {
    if (p.weights[1].bias != nullptr) up_sum += p.weights[1].bias[row];
    sum = gated(p.gate, sum, up_sum);
  }
  put(p, weight.out, token * weight.rows + row, sum);
}

}  // namespace kvi::cuda
