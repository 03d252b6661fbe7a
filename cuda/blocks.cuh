// Reads weights as they are stored: eight neighbouring values of a row at a time, as f32.
//
// Layouts are those of ggml (ggml/src/ggml-common.h). Products and sums are rounded one by one, so that
// values are bitwise those of the host's reference (compiled with -fmad=false).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "formats.h"
#include "packed.cuh"

namespace kvi::cuda {

constexpr int kRun = 8;  // values read at a time; divides every block and every group in one

// A format's block: kLen values in kBytes; load fills w with the values [i, i + kRun), i % kRun == 0.
template <Format F>
struct Block;

__device__ inline float half_at(const uint8_t* b) {  // blocks and rows begin at even addresses
  return __half2float(*reinterpret_cast<const __half*>(b));
}

template <>
struct Block<Format::f32> {
  static constexpr int kLen = 1, kBytes = 4;
  __device__ static float value(const uint8_t* b) { return *reinterpret_cast<const float*>(b); }
};
template <>
struct Block<Format::f16> {
  static constexpr int kLen = 1, kBytes = 2;
  __device__ static float value(const uint8_t* b) { return half_at(b); }
};
template <>
struct Block<Format::bf16> {
  static constexpr int kLen = 1, kBytes = 2;
  __device__ static float value(const uint8_t* b) {
    return __uint_as_float(uint32_t{*reinterpret_cast<const uint16_t*>(b)} << 16);
  }
};

// Four bits of each of 32 values: value i in the low half of byte i, value i + 16 in its high half.
__device__ inline int nibble32(const uint8_t* nibbles, int i, int j) {
  return nibbles[i % 16 + j] >> (i / 16 * 4) & 15;
}
__device__ inline int high_bit32(const uint8_t* bits, int i, int j) { return bits[i / 8] >> j & 1; }

template <>
struct Block<Format::q4_0> {
  static constexpr int kLen = 32, kBytes = 18;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const float scale = half_at(b);
    for (int j = 0; j < kRun; ++j) w[j] = scale * static_cast<float>(nibble32(b + 2, i, j) - 8);
  }
};
template <>
struct Block<Format::q4_1> {
  static constexpr int kLen = 32, kBytes = 20;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const float scale = half_at(b), min = half_at(b + 2);
    for (int j = 0; j < kRun; ++j) w[j] = scale * static_cast<float>(nibble32(b + 4, i, j)) + min;
  }
};
template <>
struct Block<Format::q5_0> {
  static constexpr int kLen = 32, kBytes = 22;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const float scale = half_at(b);
    for (int j = 0; j < kRun; ++j) {
      const int q = nibble32(b + 6, i, j) | high_bit32(b + 2, i, j) << 4;
      w[j] = scale * static_cast<float>(q - 16);
    }
  }
};
template <>
struct Block<Format::q5_1> {
  static constexpr int kLen = 32, kBytes = 24;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const float scale = half_at(b), min = half_at(b + 2);
    for (int j = 0; j < kRun; ++j) {
      const int q = nibble32(b + 8, i, j) | high_bit32(b + 4, i, j) << 4;
      w[j] = scale * static_cast<float>(q) + min;
    }
  }
};
template <>
struct Block<Format::q8_0> {
  static constexpr int kLen = 32, kBytes = 34;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const float scale = half_at(b);
    const int8_t* values = reinterpret_cast<const int8_t*>(b + 2) + i;
    for (int j = 0; j < kRun; ++j) w[j] = static_cast<float>(values[j]) * scale;
  }
};

// Two bits of each of 256 values: a run of 128 shares 32 bytes, in four layers of 32.
__device__ inline int quad256(const uint8_t* quads, int i, int j) {
  return quads[i / 128 * 32 + i % 32 + j] >> (i % 128 / 32 * 2) & 3;
}

template <>
struct Block<Format::q2_k> {  // per 16 values scale and min in a nibble each; quads 64; scale, min
  static constexpr int kLen = 256, kBytes = 84;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const uint8_t packed = b[i / 16];
    const float scale = half_at(b + 80) * static_cast<float>(packed & 15);
    const float min = half_at(b + 82) * static_cast<float>(packed >> 4);
    for (int j = 0; j < kRun; ++j) {
      w[j] = scale * static_cast<float>(quad256(b + 16, i, j)) - min;
    }
  }
};
template <>
struct Block<Format::q3_k> {  // inverted high bits 32; quads 64; 16 scales of 6 bits in 12; scale
  static constexpr int kLen = 256, kBytes = 110;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const uint8_t* scales = b + 96;
    const int g = i / 16;
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = scales[8 + g % 4] >> (g / 4 * 2) & 3;
    const float scale = half_at(b + 108) * static_cast<float>((low | high << 4) - 32);
    for (int j = 0; j < kRun; ++j) {
      const int is_high = b[i % 32 + j] >> (i / 32) & 1;
      w[j] = scale * static_cast<float>(quad256(b + 32, i, j) - (is_high ? 0 : 4));
    }
  }
};

// Q4_K and Q5_K: scale and min of a group of 32 values, six bits each. The first four lie whole in bytes
// 0-3 and 4-7, whose top bits complete the nibbles that bytes 8-11 hold of the last four.
__device__ inline void group_scale(const uint8_t* b, int g, float& scale, float& min) {
  const uint8_t* packed = b + 4;
  int s, m;
  if (g < 4) {
    s = packed[g] & 63;
    m = packed[g + 4] & 63;
  } else {
    s = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
    m = packed[g + 4] >> 4 | packed[g] >> 6 << 4;
  }
  scale = half_at(b) * static_cast<float>(s);
  min = half_at(b + 2) * static_cast<float>(m);
}

template <>
struct Block<Format::q4_k> {  // scale, min, group scales 12, nibbles 128
  static constexpr int kLen = 256, kBytes = 144;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const int g = i / 32;
    float scale, min;
    group_scale(b, g, scale, min);
    const uint8_t* nibbles = b + 16 + g / 2 * 32 + i % 32;
    for (int j = 0; j < kRun; ++j) {
      w[j] = scale * static_cast<float>(nibbles[j] >> (g % 2 * 4) & 15) - min;
    }
  }
};
template <>
struct Block<Format::q5_k> {  // scale, min, group scales 12, high bits 32, nibbles 128
  static constexpr int kLen = 256, kBytes = 176;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const int g = i / 32;
    float scale, min;
    group_scale(b, g, scale, min);
    const uint8_t* high_bits = b + 16 + i % 32;
    const uint8_t* nibbles = b + 48 + g / 2 * 32 + i % 32;
    for (int j = 0; j < kRun; ++j) {
      const int q = (nibbles[j] >> (g % 2 * 4) & 15) | (high_bits[j] >> g & 1) << 4;
      w[j] = scale * static_cast<float>(q) - min;
    }
  }
};
template <>
struct Block<Format::q6_k> {  // nibbles 128, quads 64, scales 16, scale
  static constexpr int kLen = 256, kBytes = 210;
  __device__ static void load(const uint8_t* b, int i, float (&w)[kRun]) {
    const int8_t* scales = reinterpret_cast<const int8_t*>(b + 192);
    const float scale = half_at(b + 208) * static_cast<float>(scales[i / 16]);
    const uint8_t* nibbles = b + i / 128 * 64 + i % 64;
    for (int j = 0; j < kRun; ++j) {
      const int low = nibbles[j] >> (i % 128 / 64 * 4) & 15;
      w[j] = scale * static_cast<float>((low | quad256(b + 128, i, j) << 4) - 32);
    }
  }
};

// The values [k, k + kRun) of a row of cols; zeros past its end. Requires: k % kRun == 0, k < cols.
template <Format F>
__device__ void load_run(const uint8_t* row, int64_t k, int64_t cols, float (&w)[kRun]) {
  using B = Block<F>;
  if constexpr (B::kLen == 1) {
#pragma unroll
    for (int j = 0; j < kRun; ++j) w[j] = k + j < cols ? B::value(row + (k + j) * B::kBytes) : 0.0f;
  } else {
    B::load(row + k / B::kLen * B::kBytes, static_cast<int>(k % B::kLen), w);
  }
}

// As load_run, of a row of a matrix that may be packed.
template <Format F>
__device__ void load_run_of(const MatrixView& matrix, int64_t row, int64_t k, int64_t cols,
                            float (&w)[kRun]) {
  if constexpr (kPackedUnit<F>.len != 0) {
    if (matrix.is_packed) {
      constexpr int kLen = kPackedUnit<F>.len, kBytes = kPackedUnit<F>.bytes;
      const uint8_t* unit =
          matrix.data + (row / kTileRows * (cols / kLen) + k / kLen) * int64_t{kBytes};
      packed_run<F>(unit, static_cast<int>(row % kTileRows), static_cast<int>(k % kLen), w);
      return;
    }
  }
  load_run<F>(matrix.data + row * matrix.row_bytes, k, cols, w);
}

}  // namespace kvi::cuda
