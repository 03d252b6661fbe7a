#include "tensor/quant.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "tensor/half.h"

namespace kvi {
namespace {

// Blocks as they lie in the file: bytes only, so that any alignment is good. Layouts are those of
// ggml (ggml/src/ggml-common.h); a half is a little-endian f16.
struct Half {
  uint8_t bytes[2];
  float value() const { return f16_to_f32(static_cast<uint16_t>(bytes[0] | bytes[1] << 8)); }
  void set(float v) {
    const uint16_t h = f32_to_f16(v);
    bytes[0] = static_cast<uint8_t>(h);
    bytes[1] = static_cast<uint8_t>(h >> 8);
  }
};

struct BlockQ4_0 {
  static constexpr int kLen = 32;
  Half scale;
  uint8_t nibbles[16];  // value i in the low half of byte i, value i + 16 in its high half
};

struct BlockQ4_1 {
  static constexpr int kLen = 32;
  Half scale, min;
  uint8_t nibbles[16];
};

struct BlockQ5_0 {
  static constexpr int kLen = 32;
  Half scale;
  uint8_t high_bits[4];  // bit i is bit 4 of value i
  uint8_t nibbles[16];
};

struct BlockQ5_1 {
  static constexpr int kLen = 32;
  Half scale, min;
  uint8_t high_bits[4];
  uint8_t nibbles[16];
};

struct BlockQ8_0 {
  static constexpr int kLen = 32;
  Half scale;
  int8_t values[32];
};

struct BlockQ2_K {
  static constexpr int kLen = 256;
  uint8_t scales[16];  // per 16 values: scale in the low nibble, min in the high one
  uint8_t quads[64];
  Half scale, min;
};

struct BlockQ3_K {
  static constexpr int kLen = 256;
  uint8_t high_bits[32];  // bit 2 of the values, inverted: 0 means minus four
  uint8_t quads[64];
  uint8_t scales[12];  // 16 of 6 bits
  Half scale;
};

struct BlockQ4_K {
  static constexpr int kLen = 256;
  Half scale, min;
  uint8_t scales[12];  // 8 scales and 8 mins of 6 bits
  uint8_t nibbles[128];
};

struct BlockQ5_K {
  static constexpr int kLen = 256;
  Half scale, min;
  uint8_t scales[12];
  uint8_t high_bits[32];
  uint8_t nibbles[128];
};

struct BlockQ6_K {
  static constexpr int kLen = 256;
  uint8_t nibbles[128];
  uint8_t quads[64];  // bits 4 and 5
  int8_t scales[16];  // per 16 values
  Half scale;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84);
static_assert(sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176);
static_assert(sizeof(BlockQ6_K) == 210);

int nibble(const uint8_t* nibbles, int i) {
  return i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
}
int bit(const uint8_t* bits, int i) { return bits[i / 8] >> (i % 8) & 1; }

void decode(const BlockQ4_0& block, float* dst) {
  const float scale = block.scale.value();
  for (int i = 0; i < 32; ++i) dst[i] = scale * static_cast<float>(nibble(block.nibbles, i) - 8);
}

void decode(const BlockQ4_1& block, float* dst) {
  const float scale = block.scale.value(), min = block.min.value();
  for (int i = 0; i < 32; ++i) dst[i] = scale * static_cast<float>(nibble(block.nibbles, i)) + min;
}

void decode(const BlockQ5_0& block, float* dst) {
  const float scale = block.scale.value();
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(block.nibbles, i) | bit(block.high_bits, i) << 4;
    dst[i] = scale * static_cast<float>(q - 16);
  }
}

void decode(const BlockQ5_1& block, float* dst) {
  const float scale = block.scale.value(), min = block.min.value();
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(block.nibbles, i) | bit(block.high_bits, i) << 4;
    dst[i] = scale * static_cast<float>(q) + min;
  }
}

void decode(const BlockQ8_0& block, float* dst) {
  const float scale = block.scale.value();
  for (int i = 0; i < 32; ++i) dst[i] = static_cast<float>(block.values[i]) * scale;
}

// Two bits of value i: each run of 128 values shares 32 bytes, in four layers of 32.
int quad(const uint8_t* quads, int i) {
  return quads[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void decode(const BlockQ2_K& block, float* dst) {
  const float scale = block.scale.value(), min = block.min.value();
  for (int i = 0; i < 256; ++i) {
    const uint8_t packed = block.scales[i / 16];
    const float group_scale = scale * static_cast<float>(packed & 15);
    const float group_min = min * static_cast<float>(packed >> 4);
    dst[i] = group_scale * static_cast<float>(quad(block.quads, i)) - group_min;
  }
}

void decode(const BlockQ3_K& block, float* dst) {
  const float scale = block.scale.value();
  for (int i = 0; i < 256; ++i) {
    const int g = i / 16;
    const int low = g < 8 ? block.scales[g] & 15 : block.scales[g - 8] >> 4;
    const int high = block.scales[8 + g % 4] >> (g / 4 * 2) & 3;
    const float group_scale = scale * static_cast<float>((low | high << 4) - 32);
    const int is_high = block.high_bits[i % 32] >> (i / 32) & 1;
    dst[i] = group_scale * static_cast<float>(quad(block.quads, i) - (is_high ? 0 : 4));
  }
}

struct GroupScale {
  float scale, min;
};

// Scale and min of the group of 32 values, six bits each: the first four groups lie whole in bytes
// 0-3 and 4-7, whose top bits complete the nibbles that bytes 8-11 hold of the last four.
GroupScale group_scale(Half scale, Half min, const uint8_t* packed, int g) {
  int s, m;
  if (g < 4) {
    s = packed[g] & 63;
    m = packed[g + 4] & 63;
  } else {
    s = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
    m = packed[g + 4] >> 4 | packed[g] >> 6 << 4;
  }
  return {scale.value() * static_cast<float>(s), min.value() * static_cast<float>(m)};
}

void decode(const BlockQ4_K& block, float* dst) {
  for (int g = 0; g < 8; ++g) {
    const GroupScale group = group_scale(block.scale, block.min, block.scales, g);
    for (int i = 0; i < 32; ++i) {
      const int q = block.nibbles[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
      dst[g * 32 + i] = group.scale * static_cast<float>(q) - group.min;
    }
  }
}

void decode(const BlockQ5_K& block, float* dst) {
  for (int g = 0; g < 8; ++g) {
    const GroupScale group = group_scale(block.scale, block.min, block.scales, g);
    for (int i = 0; i < 32; ++i) {
      const int low = block.nibbles[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
      const int q = low | (block.high_bits[i] >> g & 1) << 4;
      dst[g * 32 + i] = group.scale * static_cast<float>(q) - group.min;
    }
  }
}

void decode(const BlockQ6_K& block, float* dst) {
  const float scale = block.scale.value();
  for (int i = 0; i < 256; ++i) {
    const float group_scale = scale * static_cast<float>(block.scales[i / 16]);
    const int low = block.nibbles[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
    dst[i] = group_scale * static_cast<float>((low | quad(block.quads, i) << 4) - 32);
  }
}

// The value with the largest magnitude, the first of equals.
float extreme(const float* src) {
  float best = src[0];
  for (int i = 1; i < 32; ++i) {
    if (std::fabs(src[i]) > std::fabs(best)) best = src[i];
  }
  return best;
}

float inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

// Truncates to [0, max]; NaN gives 0.
int clamp_level(float x, int max) {
  if (!(x > 0)) return 0;
  return x < static_cast<float>(max) ? static_cast<int>(x) : max;
}

void pack_nibbles(const int (&levels)[32], uint8_t* nibbles) {
  for (int i = 0; i < 16; ++i) {
    nibbles[i] = static_cast<uint8_t>((levels[i] & 15) | (levels[i + 16] & 15) << 4);
  }
}

void pack_high_bits(const int (&levels)[32], uint8_t* bits) {
  std::memset(bits, 0, 4);
  for (int i = 0; i < 32; ++i) bits[i / 8] |= static_cast<uint8_t>((levels[i] >> 4) << (i % 8));
}

// Levels 0 .. 2 * half - 1 around zero at half; the extreme value becomes level 0.
float symmetric_levels(const float* src, int half, int (&levels)[32]) {
  const float scale = extreme(src) / static_cast<float>(-half);
  const float inv = inverse(scale);
  for (int i = 0; i < 32; ++i) {
    levels[i] = clamp_level(src[i] * inv + (static_cast<float>(half) + 0.5f), 2 * half - 1);
  }
  return scale;
}

struct Range {
  float scale, min;
};

// Levels 0 .. max from the smallest value to the largest.
Range affine_levels(const float* src, int max, int (&levels)[32]) {
  float low = src[0], high = src[0];
  for (int i = 1; i < 32; ++i) {
    low = src[i] < low ? src[i] : low;
    high = src[i] > high ? src[i] : high;
  }
  const float scale = (high - low) / static_cast<float>(max);
  const float inv = inverse(scale);
  for (int i = 0; i < 32; ++i) levels[i] = clamp_level((src[i] - low) * inv + 0.5f, max);
  return {scale, low};
}

void encode(const float* src, BlockQ4_0& block) {
  int levels[32];
  block.scale.set(symmetric_levels(src, 8, levels));
  pack_nibbles(levels, block.nibbles);
}

void encode(const float* src, BlockQ5_0& block) {
  int levels[32];
  block.scale.set(symmetric_levels(src, 16, levels));
  pack_nibbles(levels, block.nibbles);
  pack_high_bits(levels, block.high_bits);
}

void encode(const float* src, BlockQ4_1& block) {
  int levels[32];
  const Range range = affine_levels(src, 15, levels);
  block.scale.set(range.scale);
  block.min.set(range.min);
  pack_nibbles(levels, block.nibbles);
}

void encode(const float* src, BlockQ5_1& block) {
  int levels[32];
  const Range range = affine_levels(src, 31, levels);
  block.scale.set(range.scale);
  block.min.set(range.min);
  pack_nibbles(levels, block.nibbles);
  pack_high_bits(levels, block.high_bits);
}

void encode(const float* src, BlockQ8_0& block) {
  const float scale = std::fabs(extreme(src)) / 127;
  const float inv = inverse(scale);
  block.scale.set(scale);
  for (int i = 0; i < 32; ++i) {
    const float level = std::round(src[i] * inv);
    block.values[i] = level >= -127 && level <= 127 ? static_cast<int8_t>(level) : int8_t{0};
  }
}

template <typename Block>
void decode_row(const std::byte* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; i += Block::kLen, src += sizeof(Block), dst += Block::kLen) {
    Block block;
    std::memcpy(&block, src, sizeof block);
    decode(block, dst);
  }
}

template <typename Block>
void encode_row(const float* src, std::byte* dst, int64_t n) {
  for (int64_t i = 0; i < n; i += Block::kLen, dst += sizeof(Block), src += Block::kLen) {
    Block block;
    encode(src, block);
    std::memcpy(dst, &block, sizeof block);
  }
}

template <typename Convert>
void decode_halves(const std::byte* src, float* dst, int64_t n, Convert convert) {
  for (int64_t i = 0; i < n; ++i, src += sizeof(uint16_t)) {
    uint16_t bits;
    std::memcpy(&bits, src, sizeof bits);
    dst[i] = convert(bits);
  }
}

template <typename Convert>
void encode_halves(const float* src, std::byte* dst, int64_t n, Convert convert) {
  for (int64_t i = 0; i < n; ++i, dst += sizeof(uint16_t)) {
    const uint16_t bits = convert(src[i]);
    std::memcpy(dst, &bits, sizeof bits);
  }
}

}  // namespace

void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n) {
  KVI_CHECK(n >= 0 && n % dtype_info(dtype).block_len == 0);
  switch (dtype) {
    case DType::F32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case DType::F16: return decode_halves(src, dst, n, f16_to_f32);
    case DType::BF16: return decode_halves(src, dst, n, bf16_to_f32);
    case DType::Q4_0: return decode_row<BlockQ4_0>(src, dst, n);
    case DType::Q4_1: return decode_row<BlockQ4_1>(src, dst, n);
    case DType::Q5_0: return decode_row<BlockQ5_0>(src, dst, n);
    case DType::Q5_1: return decode_row<BlockQ5_1>(src, dst, n);
    case DType::Q8_0: return decode_row<BlockQ8_0>(src, dst, n);
    case DType::Q2_K: return decode_row<BlockQ2_K>(src, dst, n);
    case DType::Q3_K: return decode_row<BlockQ3_K>(src, dst, n);
    case DType::Q4_K: return decode_row<BlockQ4_K>(src, dst, n);
    case DType::Q5_K: return decode_row<BlockQ5_K>(src, dst, n);
    case DType::Q6_K: return decode_row<BlockQ6_K>(src, dst, n);
  }
}

void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n) {
  KVI_CHECK(n >= 0 && n % dtype_info(dtype).block_len == 0);
  switch (dtype) {
    case DType::F32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case DType::F16: return encode_halves(src, dst, n, f32_to_f16);
    case DType::BF16: return encode_halves(src, dst, n, f32_to_bf16);
    case DType::Q4_0: return encode_row<BlockQ4_0>(src, dst, n);
    case DType::Q4_1: return encode_row<BlockQ4_1>(src, dst, n);
    case DType::Q5_0: return encode_row<BlockQ5_0>(src, dst, n);
    case DType::Q5_1: return encode_row<BlockQ5_1>(src, dst, n);
    case DType::Q8_0: return encode_row<BlockQ8_0>(src, dst, n);
    case DType::Q2_K:
    case DType::Q3_K:
    case DType::Q4_K:
    case DType::Q5_K:
    case DType::Q6_K: break;
  }
  throw Error(Status::UNSUPPORTED, concat("this library reads ", dtype_name(dtype),
                                          " but does not quantize to it; use Q8_0 or Q4_1"));
}

}  // namespace kvi
