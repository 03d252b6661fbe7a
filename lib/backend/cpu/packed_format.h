// How the values of a packed matrix are coded: one description per block format, read by the packer
// and, as a template argument, by every kernel.
//
// Sixteen rows form a group, so that a vector's lanes are rows; missing ones are zeros. A group is
// contiguous: the codes of all
// its blocks, then the scales of all its units.
//
// Codes of a block (32 columns): eight vectors of 64 bytes, vector j holding columns 4j .. 4j+3 of
// each row ([16 rows][4 columns], the operand of a four-way dot product). Codes are unsigned and lie in
// bit planes: the low plane, then the high plane (bits above low_bits). A plane of b bits packs
// 8 / b vectors into one, vector j at bit (j % (8 / b)) * b of vector j / (8 / b).
//
// Scales of a unit (32 columns, or 256 with two levels): f16 scale [16], f16 min [16] where has_min;
// with two levels then the factors, int8 [factors_per_unit][16], and those of min where has_min
// (joint_factors: both as nibbles of one byte, the scale's low).
//
// value = scale * (code - zero_point), or scale * code + min (has_min); with two levels scale and min
// are first multiplied by their factors. The min of a format that subtracts it is stored negated.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace kvi::cpu {

inline constexpr int kGroupRows = 16;
inline constexpr int kGroupsPerTile =
    2;                                // a matrix has whole pairs of groups, so no kernel needs less
inline constexpr int kBlockLen = 32;  // columns of a block, and of an activation scale

struct PackedFormat {
  int low_bits = 0;  // 0: plain floats, [column][16 rows]
  int high_bits = 0;
  int zero_point = 0;
  int scale_len = 32;  // columns that share a scale (its factor, with two levels): 16 or 32
  bool has_min = false;
  bool two_levels = false;
  bool joint_factors = false;

  constexpr bool is_plain() const { return low_bits == 0; }
  constexpr int code_bits() const { return low_bits + high_bits; }
  constexpr int block_bytes() const { return code_bits() * 64; }  // codes only
  constexpr int unit_len() const { return two_levels ? 256 : kBlockLen; }
  constexpr int factors_per_unit() const { return two_levels ? 256 / scale_len : 0; }
  constexpr int min_offset() const { return 32; }
  constexpr int factors_offset() const { return has_min ? 64 : 32; }
  constexpr int min_factors_offset() const { return factors_offset() + factors_per_unit() * 16; }
  constexpr int unit_bytes() const {
    return min_factors_offset() + (has_min && !joint_factors ? factors_per_unit() * 16 : 0);
  }
};

constexpr PackedFormat packed_format(DType dtype) {
  switch (dtype) {
    case DType::F32:
    case DType::F16:
    case DType::BF16: return {};
    case DType::Q4_0: return {.low_bits = 4, .zero_point = 8};
    case DType::Q4_1: return {.low_bits = 4, .has_min = true};
    case DType::Q5_0: return {.low_bits = 4, .high_bits = 1, .zero_point = 16};
    case DType::Q5_1: return {.low_bits = 4, .high_bits = 1, .has_min = true};
    case DType::Q8_0: return {.low_bits = 8, .zero_point = 128};
    case DType::Q2_K:
      return {.low_bits = 2,
              .scale_len = 16,
              .has_min = true,
              .two_levels = true,
              .joint_factors = true};
    case DType::Q3_K:
      return {.low_bits = 2, .high_bits = 1, .zero_point = 4, .scale_len = 16, .two_levels = true};
    case DType::Q4_K: return {.low_bits = 4, .has_min = true, .two_levels = true};
    case DType::Q5_K: return {.low_bits = 4, .high_bits = 1, .has_min = true, .two_levels = true};
    case DType::Q6_K:
      return {.low_bits = 4, .high_bits = 2, .zero_point = 32, .scale_len = 16, .two_levels = true};
  }
  return {};
}

}  // namespace kvi::cpu
