// How block formats lie in the GPU's memory: packed for tensor cores. Plain C++: both sides include it.
//
// A matrix is tiles of 16 rows (the last one padded with zeros); a tile is units of unit_len columns, one after
// another, each with everything about its 16 * unit_len weights. In a unit lane 4g + t of a warp owns, of each step of
// 32 columns, columns 8t .. 8t + 7 of rows g and g + 8: two cells of 8 weights, cell 2 * step + (0 or 1). What a lane
// owns lies side by side, so that a warp reads a unit in whole lines, each lane 16 bytes at a time, and an
// mma.sync operand needs no exchange between lanes.
//
// Sections of a unit, in this order:
//   quants   8-bit formats: per step, lane and cell 8 bytes of value + 128.
//            others: per 2 steps, lane and cell a word of low nibbles; weight 2j in nibble j, 2j + 1 in nibble j + 4
//   high     per lane, words of high bits; 1-bit formats: 4 cells a word, weight 2j of cell c in bit 4 (c % 4) + j, weight
//            2j + 1 16 bits above. 2-bit formats: 2 cells a word, bits 8 (c % 2) + 2j, likewise; per 8 cells 16 bytes a lane
//   scales   per g: 32-value blocks: 4 halves, scale of each cell's block, then 4 mins where there are.
//            256-value blocks: scale (and min) of row g, then of row g + 8
//   groups   256-value blocks only; per g 16 bytes of row g, then 16 of row g + 8:
//            8 scales and 8 mins of six bits; Q6_K: 16 scales + 128
#pragma once

#include <cstdint>

#include "formats.h"

namespace kvi::cuda {

constexpr int kTileRows = 16;
constexpr int kStepCols = 32;

struct PackedUnit {
  int len = 0;  // columns; 0: the format is not packed
  int bits = 0;
  bool has_min = false;
  bool has_groups = false;
  int high_bits = 0;
  int high_at = 0, scales_at = 0, groups_at = 0;  // bytes; quants lie at 0
  int scale_bytes = 0;                            // of one g: two rows
  int bytes = 0;
};

constexpr PackedUnit make_packed_unit(int len, int bits, bool has_min) {
  PackedUnit unit;
  unit.len = len;
  unit.bits = bits;
  unit.has_min = has_min;
  unit.has_groups = len == 256;
  unit.high_bits = bits == 8 ? 0 : bits - 4;
  unit.high_at = kTileRows * len * (bits == 8 ? 8 : 4) / 8;
  unit.scales_at = unit.high_at + kTileRows * len * unit.high_bits / 8;
  unit.scale_bytes = (unit.has_groups ? 4 : 8) * (has_min ? 2 : 1);
  unit.groups_at = unit.scales_at + 8 * unit.scale_bytes;
  unit.bytes = unit.groups_at + (unit.has_groups ? 256 : 0);
  return unit;
}

constexpr PackedUnit packed_unit(Format format) {
  switch (format) {
    case Format::q4_0: return make_packed_unit(64, 4, false);
    case Format::q4_1: return make_packed_unit(64, 4, true);
    case Format::q5_0: return make_packed_unit(64, 5, false);
    case Format::q5_1: return make_packed_unit(64, 5, true);
    case Format::q8_0: return make_packed_unit(64, 8, false);
    case Format::q4_k: return make_packed_unit(256, 4, true);
    case Format::q5_k: return make_packed_unit(256, 5, true);
    case Format::q6_k: return make_packed_unit(256, 6, false);
    default: return {};
  }
}

template <Format F>
inline constexpr PackedUnit kPackedUnit = packed_unit(F);  // device code reads variables only

// X(format) for the packed ones.
#define KVI_CUDA_PACKED_FORMATS(X) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q4_k) X(q5_k) X(q6_k)

}  // namespace kvi::cuda
