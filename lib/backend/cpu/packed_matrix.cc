#include "backend/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/block_codes.h"
#include "backend/cpu/linear.h"
#include "base/error.h"
#include "tensor/half.h"

namespace kvi::cpu {
namespace {

constexpr int64_t kReadBytes = int64_t{1}
                               << 20;  // pulled from the source at a time, where rows allow

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Rows pulled at a time: whole groups.
int64_t rows_per_read(DType dtype, int64_t rows, int64_t cols) {
  const int64_t row = std::max<int64_t>(1, static_cast<int64_t>(row_bytes(dtype, cols)));
  const int64_t wanted = std::max<int64_t>(kReadBytes / row / kGroupRows, 1) * kGroupRows;
  return std::min(wanted, rows);
}

void or_word(std::byte* at, uint32_t bits) {
  uint32_t word;
  std::memcpy(&word, at, sizeof word);
  word |= bits;
  std::memcpy(at, &word, sizeof word);
}

uint32_t word_at(const void* at) {
  uint32_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// A code's place in a plane of `bits` bits: vector j of a block.
struct PlanePlace {
  int vector_offset;  // bytes
  int shift;
};
PlanePlace plane_place(int bits, int j) {
  const int per_vector = 8 / bits;
  return {j / per_vector * 64, j % per_vector * bits};
}

// Four codes at once, one in each byte.
uint32_t bytes_of(int value) { return static_cast<uint32_t>(value) * 0x01010101u; }

void pack_codes(const PackedFormat& format, const uint8_t* codes, int row, std::byte* block) {
  const int low_mask = (1 << format.low_bits) - 1;
  for (int j = 0; j < 8; ++j) {
    const uint32_t word = word_at(codes + j * 4);
    const PlanePlace low = plane_place(format.low_bits, j);
    or_word(block + low.vector_offset + row * 4, (word & bytes_of(low_mask)) << low.shift);
    if (format.high_bits == 0) continue;
    const PlanePlace high = plane_place(format.high_bits, j);
    or_word(block + format.low_bits * 64 + high.vector_offset + row * 4,
            ((word & ~bytes_of(low_mask)) >> format.low_bits) << high.shift);
  }
}

void unpack_codes(const PackedFormat& format, const std::byte* block, int row, uint8_t* codes) {
  for (int j = 0; j < 8; ++j) {
    const PlanePlace low = plane_place(format.low_bits, j);
    uint32_t word = word_at(block + low.vector_offset + row * 4) >> low.shift &
                    bytes_of((1 << format.low_bits) - 1);
    if (format.high_bits != 0) {
      const PlanePlace high = plane_place(format.high_bits, j);
      word |= (word_at(block + format.low_bits * 64 + high.vector_offset + row * 4) >> high.shift &
               bytes_of((1 << format.high_bits) - 1))
              << format.low_bits;
    }
    std::memcpy(codes + j * 4, &word, sizeof word);
  }
}

void pack_unit_scales(const PackedFormat& format, const BlockCodes& block, int row,
                      std::byte* unit) {
  std::memcpy(unit + row * 2, &block.scale, 2);
  if (format.has_min) std::memcpy(unit + format.min_offset() + row * 2, &block.min, 2);
  for (int i = 0; i < format.factors_per_unit(); ++i) {
    const int joint = format.joint_factors ? block.min_factors[i] << 4 : 0;
    unit[format.factors_offset() + i * 16 + row] = static_cast<std::byte>(block.factors[i] | joint);
    if (format.has_min && !format.joint_factors) {
      unit[format.min_factors_offset() + i * 16 + row] = static_cast<std::byte>(
          block.min_factors[i]);
    }
  }
}

// src: one row of a quantized type.
void pack_row(DType dtype, int64_t cols, const std::byte* src, int row, std::byte* group,
              int64_t scales_offset) {
  const PackedFormat format = packed_format(dtype);
  const int unit_len = format.unit_len();
  const int source_block_bytes = dtype_info(dtype).block_bytes;
  BlockCodes block;
  std::byte* codes = group;
  std::byte* scales = group + scales_offset;
  for (int64_t col = 0; col < cols; col += unit_len) {
    split_block(dtype, src, block);
    for (int i = 0; i < unit_len; i += kBlockLen, codes += format.block_bytes()) {
      pack_codes(format, block.codes + i, row, codes);
    }
    pack_unit_scales(format, block, row, scales);
    scales += format.unit_bytes();
    src += source_block_bytes;
  }
}

void pack_plain_row(int element_bytes, int64_t cols, const std::byte* src, int row,
                    std::byte* group) {
  for (int64_t col = 0; col < cols; ++col) {
    std::memcpy(group + (col * kGroupRows + row) * element_bytes, src + col * element_bytes,
                static_cast<size_t>(element_bytes));
  }
}

float half_of(const std::byte* at, int row) {
  uint16_t bits;
  std::memcpy(&bits, at + row * 2, sizeof bits);
  return f16_to_f32(bits);
}

float plain_value(DType dtype, const std::byte* at) {
  uint16_t half;
  float value;
  if (dtype == DType::F32) {
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::memcpy(&half, at, sizeof half);
  return dtype == DType::F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

}  // namespace

PackedShape packed_shape(DType dtype, int64_t rows, int64_t cols) {
  const PackedFormat format = packed_format(dtype);
  KVI_CHECK(rows >= 0 && cols >= 0 && cols % dtype_info(dtype).block_len == 0);
  PackedShape shape;
  shape.num_groups = round_up(rows, kGroupRows * kGroupsPerTile) / kGroupRows;
  if (format.is_plain()) {
    shape.group_bytes = cols * kGroupRows * dtype_info(dtype).block_bytes;
  } else {
    shape.scales_offset = cols / kBlockLen * format.block_bytes();
    shape.group_bytes = shape.scales_offset + cols / format.unit_len() * format.unit_bytes();
  }
  shape.group_bytes = round_up(shape.group_bytes, 64);
  return shape;
}

PackedMatrix::PackedMatrix(const MatrixSource& source, WeightMemory& memory)
    : dtype_(source.dtype),
      rows_(source.rows),
      cols_(source.cols),
      shape_(packed_shape(dtype_, rows_, cols_)),
      memory_(memory.allocate(size_bytes())) {
  const bool plain = packed_format(dtype_).is_plain();
  const int64_t source_row_bytes = static_cast<int64_t>(row_bytes(dtype_, cols_));
  const int64_t step = rows_per_read(dtype_, rows_, cols_);
  std::vector<std::byte> stored(static_cast<size_t>(step * source_row_bytes));
  for (int64_t first = 0; first < rows_; first += step) {
    const int64_t n = std::min(step, rows_ - first);
    source.read_rows(first, n, std::span(stored).first(static_cast<size_t>(n * source_row_bytes)));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = first + i;
      const int lane = static_cast<int>(row % kGroupRows);
      std::byte* group = memory_.get() + row / kGroupRows * shape_.group_bytes;
      const std::byte* src = stored.data() + i * source_row_bytes;
      if (plain) {
        pack_plain_row(dtype_info(dtype_).block_bytes, cols_, src, lane, group);
      } else {
        pack_row(dtype_, cols_, src, lane, group, shape_.scales_offset);
      }
    }
  }
}

void PackedMatrix::unpack_row(int64_t row, float* dst) const {
  KVI_CHECK(row >= 0 && row < rows_);
  const std::byte* codes = group(row / kGroupRows);
  const int lane = static_cast<int>(row % kGroupRows);
  const PackedFormat format = packed_format(dtype_);
  if (format.is_plain()) {
    const int element_bytes = dtype_info(dtype_).block_bytes;
    for (int64_t col = 0; col < cols_; ++col) {
      dst[col] = plain_value(dtype_, codes + (col * kGroupRows + lane) * element_bytes);
    }
    return;
  }
  const std::byte* unit = codes + shape_.scales_offset;
  uint8_t block[kBlockLen];
  for (int64_t col = 0; col < cols_; unit += format.unit_bytes()) {
    const float unit_scale = half_of(unit, lane);
    const float unit_min = format.has_min ? half_of(unit + format.min_offset(), lane) : 0;
    for (int i = 0; i < format.unit_len(); ++i, ++col) {
      if (i % kBlockLen == 0) {
        unpack_codes(format, codes, lane, block);
        codes += format.block_bytes();
      }
      float scale = unit_scale, min = unit_min;
      if (format.two_levels) {
        const int factor_offset = i / format.scale_len * 16 + lane;
        int factor = static_cast<int8_t>(unit[format.factors_offset() + factor_offset]);
        int min_factor = 0;
        if (format.joint_factors) {
          min_factor = (factor & 0xff) >> 4;
          factor &= 15;
        } else if (format.has_min) {
          min_factor = static_cast<int8_t>(unit[format.min_factors_offset() + factor_offset]);
        }
        scale *= static_cast<float>(factor);
        min *= static_cast<float>(min_factor);
      }
      const float value = scale * static_cast<float>(block[i % kBlockLen] - format.zero_point);
      dst[col] = format.has_min ? value + min : value;
    }
  }
}

std::unique_ptr<Matrix> pack_matrix(const MatrixSource& source, WeightMemory& memory) {
  return std::make_unique<PackedMatrix>(source, memory);
}

uint64_t packed_bytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<uint64_t>(packed_shape(dtype, rows, cols).size_bytes());
}

uint64_t packing_scratch_bytes(DType dtype, int64_t rows, int64_t cols) {
  return static_cast<uint64_t>(rows_per_read(dtype, rows, cols)) * row_bytes(dtype, cols);
}

void unpack_row(const Matrix& matrix, int64_t row, float* dst) {
  static_cast<const PackedMatrix&>(matrix).unpack_row(row, dst);
}

}  // namespace kvi::cpu
