#include "backend/cuda/repack.h"

#include <cstring>

#include "base/error.h"

namespace kvi::cuda {
namespace {

// A block of 32 or 256 values, taken apart: what packing puts elsewhere.
struct Codes {
  uint8_t code[256];            // from zero up: Q8_0 by 128, Q4_0 by 8 and so on above the value
  uint16_t scale = 0, min = 0;  // halves
  uint8_t groups[16];           // 256-value blocks: as a packed unit has them for a row
};

uint16_t half_at(const uint8_t* b) { return static_cast<uint16_t>(b[0] | b[1] << 8); }

// Four low bits of each of 32 values: value i in the low half of byte i, value i + 16 in its high half.
void take_nibbles32(const uint8_t* nibbles, Codes& codes) {
  for (int i = 0; i < 32; ++i) codes.code[i] = nibbles[i % 16] >> (i / 16 * 4) & 15;
}
void add_high_bits32(const uint8_t* bits, Codes& codes) {
  for (int i = 0; i < 32; ++i) {
    codes.code[i] = static_cast<uint8_t>(codes.code[i] | (bits[i / 8] >> i % 8 & 1) << 4);
  }
}
// Q4_K and Q5_K: groups of 64 values share 32 bytes.
void take_nibbles256(const uint8_t* nibbles, Codes& codes) {
  for (int i = 0; i < 256; ++i) {
    codes.code[i] = nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
  }
}
// Scale and min of each of 8 groups, six bits each: the first four lie whole in bytes 0-3 and 4-7, whose top bits
// complete the nibbles that bytes 8-11 hold of the last four.
void take_groups(const uint8_t* packed, Codes& codes) {
  for (int g = 0; g < 4; ++g) {
    codes.groups[g] = packed[g] & 63;
    codes.groups[8 + g] = packed[g + 4] & 63;
    codes.groups[g + 4] = static_cast<uint8_t>((packed[g + 8] & 15) | packed[g] >> 6 << 4);
    codes.groups[12 + g] = static_cast<uint8_t>(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
  }
}

Codes take_apart(Format format, const uint8_t* b) {
  Codes codes;
  codes.scale = half_at(b);
  switch (format) {
    case Format::q4_0: take_nibbles32(b + 2, codes); break;
    case Format::q4_1:
      codes.min = half_at(b + 2);
      take_nibbles32(b + 4, codes);
      break;
    case Format::q5_0:
      take_nibbles32(b + 6, codes);
      add_high_bits32(b + 2, codes);
      break;
    case Format::q5_1:
      codes.min = half_at(b + 2);
      take_nibbles32(b + 8, codes);
      add_high_bits32(b + 4, codes);
      break;
    case Format::q8_0:
      for (int i = 0; i < 32; ++i) codes.code[i] = static_cast<uint8_t>(b[2 + i] ^ 0x80);
      break;
    case Format::q4_k:
      codes.min = half_at(b + 2);
      take_groups(b + 4, codes);
      take_nibbles256(b + 16, codes);
      break;
    case Format::q5_k:
      codes.min = half_at(b + 2);
      take_groups(b + 4, codes);
      take_nibbles256(b + 48, codes);
      for (int i = 0; i < 256; ++i) {
        codes.code[i] = static_cast<uint8_t>(codes.code[i] | (b[16 + i % 32] >> (i / 32) & 1) << 4);
      }
      break;
    case Format::q6_k:
      codes.scale = half_at(b + 208);
      for (int i = 0; i < 16; ++i) codes.groups[i] = static_cast<uint8_t>(b[192 + i] ^ 0x80);
      for (int i = 0; i < 256; ++i) {
        const int low = b[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        const int high = b[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        codes.code[i] = static_cast<uint8_t>(low | high << 4);
      }
      break;
    default: KVI_CHECK(!"the format is packed");
  }
  return codes;
}

void put_half(std::byte* at, uint16_t value) { std::memcpy(at, &value, sizeof value); }

// A block's codes into its row of a unit; the block begins at column first. The unit was zeroed.
void put_codes(const PackedUnit& unit, const Codes& codes, int len, int row, int first,
               std::byte* to) {
  for (int i = 0; i < len; ++i) {
    const int col = first + i, step = col / kStepCols, lane = row % 8 * 4 + col % kStepCols / 8;
    const int cell = 2 * step + row / 8, k = col % 8, j = k / 2, is_odd = k % 2;
    const int code = codes.code[i];
    if (unit.bits == 8) {
      to[step * 512 + lane * 16 + row / 8 * 8 + k] = static_cast<std::byte>(code);
      continue;
    }
    const int nibble = j + 4 * is_odd;
    std::byte& pair = to[step / 2 * 512 + lane * 16 + cell % 4 * 4 + nibble / 2];
    pair |= static_cast<std::byte>((code & 15) << nibble % 2 * 4);
    if (unit.high_bits == 0) continue;
    const int cells = 4 / unit.high_bits, word = cell / cells;
    const int at = (cell % cells * 4 + j) * unit.high_bits + 16 * is_odd;
    std::byte* bits = to + unit.high_at + word / 4 * 512 + lane * (unit.has_groups ? 16 : 4) +
                      word % 4 * 4 + at / 8;
    *bits |= static_cast<std::byte>(code >> 4 << at % 8);
  }
}

void put_scales(const PackedUnit& unit, const Codes& codes, int row, int first, std::byte* to) {
  std::byte* scales = to + unit.scales_at + row % 8 * unit.scale_bytes;
  if (!unit.has_groups) {
    const int cell = first / 32 * 2 + row / 8;
    put_half(scales + 2 * cell, codes.scale);
    if (unit.has_min) put_half(scales + 8 + 2 * cell, codes.min);
    return;
  }
  std::byte* of_row = scales + row / 8 * (unit.has_min ? 4 : 2);
  put_half(of_row, codes.scale);
  if (unit.has_min) put_half(of_row + 2, codes.min);
  std::memcpy(to + unit.groups_at + row % 8 * 32 + row / 8 * 16, codes.groups, 16);
}

}  // namespace

bool is_packed_type(DType dtype, int64_t cols) {
  const PackedUnit unit = packed_unit(format_of(dtype));
  return unit.len != 0 && cols > 0 && cols % unit.len == 0;
}

uint64_t packed_tile_bytes(DType dtype, int64_t cols) {
  const PackedUnit unit = packed_unit(format_of(dtype));
  return static_cast<uint64_t>(cols / unit.len * unit.bytes);
}

void pack_tile(DType dtype, int64_t cols, std::span<const std::byte> rows, int num_rows,
               std::span<std::byte> tile) {
  const Format format = format_of(dtype);
  const PackedUnit unit = packed_unit(format);
  const DTypeInfo& info = dtype_info(dtype);
  const int64_t num_blocks = cols / info.block_len;
  KVI_CHECK(is_packed_type(dtype, cols) && num_rows <= kTileRows);
  KVI_CHECK(tile.size() == packed_tile_bytes(dtype, cols));
  KVI_CHECK(rows.size() == row_bytes(dtype, cols) * static_cast<uint64_t>(num_rows));
  std::memset(tile.data(), 0, tile.size());
  const auto* block = reinterpret_cast<const uint8_t*>(rows.data());
  for (int row = 0; row < num_rows; ++row) {
    for (int64_t b = 0; b < num_blocks; ++b, block += info.block_bytes) {
      const Codes codes = take_apart(format, block);
      const int64_t col = b * info.block_len;
      std::byte* to = tile.data() + col / unit.len * unit.bytes;
      const int first = static_cast<int>(col % unit.len);
      put_codes(unit, codes, info.block_len, row, first, to);
      put_scales(unit, codes, row, first, to);
    }
  }
}

}  // namespace kvi::cuda
