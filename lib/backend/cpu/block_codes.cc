#include "backend/cpu/block_codes.h"

#include <cstring>

#include "base/error.h"

namespace kvi::cpu {
namespace {

constexpr uint16_t kSignBit = 0x8000;

uint16_t half_at(const uint8_t* src) { return static_cast<uint16_t>(src[0] | src[1] << 8); }

void split_nibbles(const uint8_t* nibbles, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = nibbles[i] & 15;
    codes[i + 16] = nibbles[i] >> 4;
  }
}

void add_high_bits(const uint8_t* bits, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] |= (bits[i / 8] >> (i % 8) & 1) << 4;
}

// Two bits of each of 256 values: a run of 128 shares 32 bytes, in four layers of 32.
void split_quads(const uint8_t* quads, uint8_t* codes) {
  for (int i = 0; i < 256; ++i) {
    codes[i] = quads[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
  }
}

// Q4_K and Q5_K: eight factors and eight of min, six bits each. The first four lie whole in bytes
// 0-3 and 4-7, whose top bits complete the nibbles that bytes 8-11 hold of the last four.
void split_factors(const uint8_t* packed, BlockCodes& dst) {
  for (int g = 0; g < 4; ++g) {
    dst.factors[g] = static_cast<int8_t>(packed[g] & 63);
    dst.min_factors[g] = static_cast<int8_t>(packed[g + 4] & 63);
    dst.factors[g + 4] = static_cast<int8_t>((packed[g + 8] & 15) | packed[g] >> 6 << 4);
    dst.min_factors[g + 4] = static_cast<int8_t>(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
  }
}

void split_paired_nibbles(const uint8_t* nibbles, uint8_t* codes) {
  for (int i = 0; i < 256; ++i) codes[i] = nibbles[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
}

void split_q2_k(const uint8_t* src, BlockCodes& dst) {  // factors 16, quads 64, scale, min
  for (int g = 0; g < 16; ++g) {
    dst.factors[g] = static_cast<int8_t>(src[g] & 15);
    dst.min_factors[g] = static_cast<int8_t>(src[g] >> 4);
  }
  split_quads(src + 16, dst.codes);
  dst.scale = half_at(src + 80);
  dst.min = half_at(src + 82) ^ kSignBit;
}

void split_q3_k(const uint8_t* src, BlockCodes& dst) {  // high bits 32, quads 64, factors 12, scale
  split_quads(src + 32, dst.codes);
  for (int i = 0; i < 256; ++i) dst.codes[i] |= (src[i % 32] >> (i / 32) & 1) << 2;
  const uint8_t* packed = src + 96;
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
    const int high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
    dst.factors[g] = static_cast<int8_t>((low | high << 4) - 32);
  }
  dst.scale = half_at(src + 108);
}

void split_q4_k(const uint8_t* src, BlockCodes& dst) {  // scale, min, factors 12, nibbles 128
  dst.scale = half_at(src);
  dst.min = half_at(src + 2) ^ kSignBit;
  split_factors(src + 4, dst);
  split_paired_nibbles(src + 16, dst.codes);
}

void split_q5_k(const uint8_t* src,
                BlockCodes& dst) {  // scale, min, factors 12, high 32, nibbles 128
  dst.scale = half_at(src);
  dst.min = half_at(src + 2) ^ kSignBit;
  split_factors(src + 4, dst);
  split_paired_nibbles(src + 48, dst.codes);
  for (int i = 0; i < 256; ++i) dst.codes[i] |= (src[16 + i % 32] >> (i / 32) & 1) << 4;
}

void split_q6_k(const uint8_t* src, BlockCodes& dst) {  // nibbles 128, quads 64, factors 16, scale
  split_quads(src + 128, dst.codes);
  for (int i = 0; i < 256; ++i) {
    const int low = src[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
    dst.codes[i] = static_cast<uint8_t>(low | dst.codes[i] << 4);
  }
  std::memcpy(dst.factors, src + 192, 16);
  dst.scale = half_at(src + 208);
}

}  // namespace

// Layouts are those of ggml (ggml/src/ggml-common.h).
void split_block(DType dtype, const std::byte* block, BlockCodes& dst) {
  const uint8_t* src = reinterpret_cast<const uint8_t*>(block);
  switch (dtype) {
    case DType::F32:
    case DType::F16:
    case DType::BF16: break;
    case DType::Q4_0: dst.scale = half_at(src); return split_nibbles(src + 2, dst.codes);
    case DType::Q4_1:
      dst.scale = half_at(src);
      dst.min = half_at(src + 2);
      return split_nibbles(src + 4, dst.codes);
    case DType::Q5_0:
      dst.scale = half_at(src);
      split_nibbles(src + 6, dst.codes);
      return add_high_bits(src + 2, dst.codes);
    case DType::Q5_1:
      dst.scale = half_at(src);
      dst.min = half_at(src + 2);
      split_nibbles(src + 8, dst.codes);
      return add_high_bits(src + 4, dst.codes);
    case DType::Q8_0:
      dst.scale = half_at(src);
      for (int i = 0; i < 32; ++i) dst.codes[i] = src[2 + i] ^ 0x80;
      return;
    case DType::Q2_K: return split_q2_k(src, dst);
    case DType::Q3_K: return split_q3_k(src, dst);
    case DType::Q4_K: return split_q4_k(src, dst);
    case DType::Q5_K: return split_q5_k(src, dst);
    case DType::Q6_K: return split_q6_k(src, dst);
  }
  KVI_CHECK(!"a plain type has no blocks");
}

}  // namespace kvi::cpu
