// Packing for the GPU: every weight is found where packed.h says, bitwise as the file has it.
#include "backend/cuda/repack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "support/random_matrix.h"
#include "support/seed.h"

namespace kvi::cuda {
namespace {

constexpr DType kPackedTypes[] = {DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1,
                                  DType::Q8_0, DType::Q4_K, DType::Q5_K, DType::Q6_K};

float half_at(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return f16_to_f32(bits);
}

// By the words of packed.h: one weight of a unit.
float weight_at(const PackedUnit& unit, const std::byte* at, int row, int col) {
  const auto byte = [&](int i) { return static_cast<int>(at[i]); };
  const auto bit = [&](int from, int i) { return byte(from + i / 8) >> i % 8 & 1; };
  const int g = row % 8, is_lower = row / 8, step = col / 32, lane = 4 * g + col % 32 / 8;
  const int cell = 2 * step + is_lower, j = col % 8 / 2, is_odd = col % 2;
  const std::byte* scales = at + unit.scales_at + g * unit.scale_bytes;
  float scale, min = 0;
  if (unit.has_groups) {
    const int groups = unit.groups_at + 32 * g + 16 * is_lower;
    if (unit.has_min) {
      scale = half_at(scales + 4 * is_lower) * static_cast<float>(byte(groups + step));
      min = -(half_at(scales + 4 * is_lower + 2) * static_cast<float>(byte(groups + 8 + step)));
    } else {
      scale = half_at(scales + 2 * is_lower) * static_cast<float>(byte(groups + col / 16) - 128);
    }
  } else {
    scale = half_at(scales + 2 * cell);
    if (unit.has_min) min = half_at(scales + 8 + 2 * cell);
  }
  int code;
  if (unit.bits == 8) {
    code = byte(512 * step + 16 * lane + 8 * is_lower + col % 8) - 128;
  } else {
    const int nibble = j + 4 * is_odd;
    const int word = 512 * (step / 2) + 16 * lane + 8 * (step % 2) + 4 * is_lower;
    code = byte(word + nibble / 2) >> 4 * (nibble % 2) & 15;
    if (unit.high_bits == 1) {
      const int lane_at = unit.high_at + lane * (unit.has_groups ? 16 : 4) + cell / 4 * 4;
      code += 16 * bit(lane_at, 4 * (cell % 4) + j + 16 * is_odd);
    } else if (unit.high_bits == 2) {
      const int lane_at = unit.high_at + cell / 8 * 512 + lane * 16 + cell % 8 / 2 * 4;
      const int first = 8 * (cell % 2) + 2 * j + 16 * is_odd;
      code += 16 * bit(lane_at, first) + 32 * bit(lane_at, first + 1);
    }
    if (!unit.has_min) code -= 1 << (unit.bits - 1);
  }
  return scale * static_cast<float>(code) + min;
}

TEST(RepackTest, EveryWeightIsFoundWhereTheLayoutSays) {
  std::mt19937_64 random(test_seed());
  for (DType dtype : kPackedTypes) {
    const PackedUnit unit = packed_unit(format_of(dtype));
    for (int num_rows : {1, 7, 9, 16}) {
      const int cols = 3 * unit.len;
      const RandomMatrix matrix(dtype, num_rows, cols, random);
      std::vector<std::byte> rows(row_bytes(dtype, cols) * num_rows);
      matrix.source().read_rows(0, num_rows, rows);
      std::vector<std::byte> tile(packed_tile_bytes(dtype, cols), std::byte{0xff});
      pack_tile(dtype, cols, rows, num_rows, tile);
      for (int row = 0; row < kTileRows; ++row) {
        const std::vector<float> stored = row < num_rows ? matrix.row(row)
                                                         : std::vector<float>(cols);
        for (int col = 0; col < cols; ++col) {
          const std::byte* at = tile.data() + col / unit.len * unit.bytes;
          ASSERT_EQ(weight_at(unit, at, row, col % unit.len), stored[col])
              << dtype_name(dtype) << " row " << row << " of " << num_rows << ", column " << col;
        }
      }
    }
  }
}

TEST(RepackTest, OnlyWholeUnitsArePacked) {
  EXPECT_TRUE(is_packed_type(DType::Q8_0, 576));
  EXPECT_FALSE(is_packed_type(DType::Q8_0, 32));
  EXPECT_TRUE(is_packed_type(DType::Q4_K, 256));
  EXPECT_FALSE(is_packed_type(DType::BF16, 4096));
  EXPECT_FALSE(is_packed_type(DType::Q2_K, 4096));
}

TEST(RepackTest, PackedWeightsTakeLittleMoreThanStoredOnes) {
  for (DType dtype : kPackedTypes) {
    const uint64_t packed = packed_tile_bytes(dtype, 4096);
    const uint64_t stored = row_bytes(dtype, 4096) * kTileRows;
    EXPECT_GE(packed, stored) << dtype_name(dtype);
    EXPECT_LE(packed, stored + stored / 32) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace kvi::cuda
