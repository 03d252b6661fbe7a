// Reads packed weights (packed.h): a step of a unit as a tensor-core operand, in f16.
//
// Codes become halves by their bits: 0x6400 | q is 1024 + q, exactly. The difference and the code are exact; scale *
// code (+ min) is rounded once, scales of groups once before.
#pragma once

#include <cuda_fp16.h>

#include "packed.h"

namespace kvi::cuda {

__device__ inline uint32_t bits_of(__half2 value) { return *reinterpret_cast<uint32_t*>(&value); }
__device__ inline __half2 halves_of(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }
__device__ inline __half2 both(float value) { return __half2half2(__float2half_rn(value)); }
// One half of a word in both halves.
__device__ inline __half2 both_of(uint32_t word, int half) {
  return halves_of(__byte_perm(word, 0, half == 0 ? 0x1010 : 0x3232));
}
// Byte i of a word as a number, in both halves: 1024 + byte.
__device__ inline __half2 biased_byte(uint32_t word, int i) {
  return halves_of(__byte_perm(word, 0x64646464u, 0x4040 + i * 0x0101));
}

template <Format F>
class PackedReader {
 public:
  static constexpr PackedUnit kUnit = kPackedUnit<F>;

  __device__ PackedReader(const uint8_t* unit, int lane) : unit_(unit), lane_(lane) {
    const int g = lane / 4;
    const uint8_t* scales = unit + kUnit.scales_at + g * kUnit.scale_bytes;
    if constexpr (!kUnit.has_groups) {
      const uint2 of_cells = *reinterpret_cast<const uint2*>(scales);
      scales_[0] = of_cells.x, scales_[1] = of_cells.y;
      if constexpr (kUnit.has_min) {
        const uint2 mins = *reinterpret_cast<const uint2*>(scales + 8);
        mins_[0] = mins.x, mins_[1] = mins.y;
      }
      if constexpr (kUnit.high_bits != 0) {
        high_[0] = *reinterpret_cast<const uint32_t*>(unit + kUnit.high_at + lane * 4);
      }
    } else {
      if constexpr (kUnit.has_min) {
        const uint2 of_rows = *reinterpret_cast<const uint2*>(scales);
        scales_[0] = of_rows.x, scales_[1] = of_rows.y;
      } else {
        scales_[0] = *reinterpret_cast<const uint32_t*>(scales);
      }
      for (int row = 0; row < 2; ++row) {
        const uint4 groups =
            *reinterpret_cast<const uint4*>(unit + kUnit.groups_at + g * 32 + row * 16);
        groups_[row][0] = groups.x, groups_[row][1] = groups.y;
        groups_[row][2] = groups.z, groups_[row][3] = groups.w;
      }
      for (int i = 0; i < kUnit.high_bits; ++i) {
        const uint4 high =
            *reinterpret_cast<const uint4*>(unit + kUnit.high_at + i * 512 + lane * 16);
        high_[4 * i] = high.x, high_[4 * i + 1] = high.y;
        high_[4 * i + 2] = high.z, high_[4 * i + 3] = high.w;
      }
    }
  }

  // weights[row]: the four pairs of this lane's cell of row g (0) and g + 8 (1).
  __device__ void step(int s, uint32_t (&weights)[2][4]) const {
    if constexpr (kUnit.bits == 8) {
      const uint4 quants = *reinterpret_cast<const uint4*>(unit_ + s * 512 + lane_ * 16);
      const uint32_t words[2][2] = {{quants.x, quants.y}, {quants.z, quants.w}};
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        __half2 scale, min;
        scale_of(s, row, scale, min);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t pair =
              __byte_perm(words[row][j / 2], 0x64646464u, j % 2 == 0 ? 0x4140 : 0x4342);
          weights[row][j] = bits_of(__hmul2(__hsub2(halves_of(pair), both(1024 + 128)), scale));
        }
      }
    } else {
      const uint2 quants =
          *reinterpret_cast<const uint2*>(unit_ + s / 2 * 512 + lane_ * 16 + s % 2 * 8);
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        __half2 scale, min;
        scale_of(s, row, scale, min);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const __half2 code = code_of(row == 0 ? quants.x : quants.y, 2 * s + row, j);
          weights[row][j] = bits_of(kUnit.has_min ? __hfma2(code, scale, min)
                                                  : __hmul2(code, scale));
        }
      }
    }
  }

 private:
  static constexpr float kCenter = kUnit.has_min ? 0 : 1 << (kUnit.bits - 1);

  __device__ __half2 code_of(uint32_t nibbles, int cell, int j) const {
    const bool is_upper = j % 2 != 0;  // the pair's nibbles lie 4 bits up: 16 times the code
    uint32_t bits = (j < 2 ? nibbles : nibbles >> 8) & (is_upper ? 0x00f000f0u : 0x000f000fu);
    if constexpr (kUnit.high_bits != 0) {
      constexpr int kCells = 4 / kUnit.high_bits;  // a word
      constexpr uint32_t kMask = kUnit.high_bits == 1 ? 0x00010001u : 0x00030003u;
      const uint32_t word = high_[cell / kCells];
      const int from = (cell % kCells * 4 + j) * kUnit.high_bits, to = is_upper ? 8 : 4;
      bits |= (from > to ? word >> (from - to) : word << (to - from)) & kMask << to;
    }
    const __half2 biased = halves_of(bits | 0x64006400u);
    if (is_upper) return __hfma2(biased, both(0.0625f), both(-64 - kCenter));
    return __hsub2(biased, both(1024 + kCenter));
  }

  __device__ void scale_of(int s, int row, __half2& scale, __half2& min) const {
    if constexpr (!kUnit.has_groups) {
      scale = both_of(scales_[s], row);
      if constexpr (kUnit.has_min) min = both_of(mins_[s], row);
    } else if constexpr (kUnit.has_min) {
      const __half2 group = __hsub2(biased_byte(groups_[row][s / 4], s % 4), both(1024));
      const __half2 group_min = __hsub2(biased_byte(groups_[row][2 + s / 4], s % 4), both(1024));
      scale = __hmul2(both_of(scales_[row], 0), group);
      min = __hneg2(__hmul2(both_of(scales_[row], 1), group_min));
    } else {
      // Groups of 16: lanes t < 2 are in the first of a step, the others in the second.
      const uint32_t word = groups_[row][s / 2];
      const int byte = s % 2 * 2 + lane_ % 4 / 2;
      const __half2 biased = halves_of(__byte_perm(word, 0x64646464u, 0x4040 + byte * 0x0101));
      scale = __hmul2(both_of(scales_[0], row), __hsub2(biased, both(1024 + 128)));
    }
  }

  const uint8_t* unit_;
  int lane_;
  uint32_t scales_[2], mins_[2];
  uint32_t groups_[2][4];
  uint32_t high_[kUnit.has_groups ? (kUnit.high_bits > 0 ? 4 * kUnit.high_bits : 1) : 1];
};

// Eight neighbouring weights of a tile's row, exactly, in f32: bitwise those of the stored block. col is a multiple of 8,
// within the unit.
template <Format F>
__device__ inline void packed_run(const uint8_t* unit, int row, int col, float (&w)[8]) {
  constexpr PackedUnit kUnit = kPackedUnit<F>;
  constexpr float kCenter = kUnit.has_min ? 0 : 1 << (kUnit.bits - 1);
  const int g = row % 8, cell = col / kStepCols * 2 + row / 8, lane = g * 4 + col % kStepCols / 8;
  const uint8_t* scales = unit + kUnit.scales_at + g * kUnit.scale_bytes;
  const auto half_of = [&](int i) {
    return __half2float(*reinterpret_cast<const __half*>(scales + 2 * i));
  };
  float scale, min = 0;
  if constexpr (!kUnit.has_groups) {
    scale = half_of(cell);
    if constexpr (kUnit.has_min) min = half_of(4 + cell);
  } else {
    const uint8_t* groups = unit + kUnit.groups_at + g * 32 + row / 8 * 16;
    if constexpr (kUnit.has_min) {
      scale = half_of(row / 8 * 2) * static_cast<float>(groups[cell / 2]);
      min = -(half_of(row / 8 * 2 + 1) * static_cast<float>(groups[8 + cell / 2]));
    } else {
      scale = half_of(row / 8) * static_cast<float>(groups[col / 16] - 128);
    }
  }
  for (int k = 0; k < 8; ++k) {
    const int j = k / 2, is_odd = k % 2;
    int code;
    if constexpr (kUnit.bits == 8) {
      code = unit[cell / 2 * 512 + lane * 16 + cell % 2 * 8 + k];
    } else {
      const int nibble = j + 4 * is_odd;
      const uint8_t pair = unit[cell / 4 * 512 + lane * 16 + cell % 4 * 4 + nibble / 2];
      code = pair >> nibble % 2 * 4 & 15;
      if constexpr (kUnit.high_bits != 0) {
        constexpr int kBits = kUnit.high_bits, kCells = 4 / kBits;
        constexpr int kLaneBytes = kUnit.has_groups ? 16 : 4;
        const int word = cell / kCells;
        const uint32_t bits = *reinterpret_cast<const uint32_t*>(
            unit + kUnit.high_at + word / 4 * 512 + lane * kLaneBytes + word % 4 * 4);
        const int at = (cell % kCells * 4 + j) * kBits + 16 * is_odd;
        code |= static_cast<int>(bits >> at & ((1 << kBits) - 1)) << 4;
      }
    }
    w[k] = scale * (static_cast<float>(code) - kCenter);
    if constexpr (kUnit.has_min) w[k] = w[k] + min;
  }
}

}  // namespace kvi::cuda
