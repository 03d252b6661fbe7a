// Random weights in any block format, for tests and benchmarks of the backends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "tensor/dtype.h"
#include "tensor/half.h"
#include "tensor/quant.h"

namespace kvi {

// A matrix as a file stores it: random codes and factors under scales of modest, varying size.
class RandomMatrix {
 public:
  // is_even: values of any type are about as large as those of plain ones; else factors are, and values as large as
  // their codes make them.
  RandomMatrix(DType dtype, int64_t rows, int64_t cols, std::mt19937_64& random,
               bool is_even = false)
      : dtype_(dtype), rows_(rows), cols_(cols), bytes_(rows * row_bytes(dtype, cols)) {
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random());
    const size_t block_bytes = static_cast<size_t>(dtype_info(dtype).block_bytes);
    const float largest = 0.02f / (is_even ? largest_code(dtype) : 1.0f);
    std::uniform_real_distribution<float> scale(-largest, largest);
    for (size_t at = 0; at < bytes_.size(); at += block_bytes) {
      std::byte* block = bytes_.data() + at;
      switch (dtype) {
        case DType::F32: {
          const float value = scale(random);
          std::memcpy(block, &value, sizeof value);
          break;
        }
        case DType::BF16: {
          const uint16_t value = f32_to_bf16(scale(random));
          std::memcpy(block, &value, sizeof value);
          break;
        }
        case DType::F16:
        case DType::Q4_0:
        case DType::Q5_0:
        case DType::Q8_0: set_half(block, scale(random)); break;
        case DType::Q4_1:
        case DType::Q5_1:
        case DType::Q4_K:
        case DType::Q5_K:
          set_half(block, scale(random));
          set_half(block + 2, scale(random));
          break;
        case DType::Q2_K:
          set_half(block + 80, scale(random));
          set_half(block + 82, scale(random));
          break;
        case DType::Q3_K: set_half(block + 108, scale(random)); break;
        case DType::Q6_K: set_half(block + 208, scale(random)); break;
      }
    }
  }

  // What a factor of the type is multiplied by, about.
  static float largest_code(DType dtype) {
    switch (dtype) {
      case DType::Q4_0:
      case DType::Q4_1: return 8;
      case DType::Q5_0:
      case DType::Q5_1: return 16;
      case DType::Q8_0: return 128;
      case DType::Q2_K: return 16 * 3;
      case DType::Q3_K: return 32 * 4;
      case DType::Q4_K: return 64 * 16;
      case DType::Q5_K: return 64 * 32;
      case DType::Q6_K: return 128 * 32;
      default: return 1;
    }
  }

  MatrixSource source() const {
    MatrixSource source;
    source.dtype = dtype_;
    source.rows = rows_;
    source.cols = cols_;
    source.read_rows = [this](int64_t first, int64_t n, std::span<std::byte> dst) {
      const size_t stored = row_bytes(dtype_, cols_);
      std::memcpy(dst.data(), bytes_.data() + first * stored, n * stored);
    };
    return source;
  }

  std::vector<float> row(int64_t index) const {
    std::vector<float> values(cols_);
    dequantize_row(dtype_, bytes_.data() + index * row_bytes(dtype_, cols_), values.data(), cols_);
    return values;
  }

  DType dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  uint64_t size_bytes() const { return bytes_.size(); }

 private:
  static void set_half(std::byte* at, float value) {
    const uint16_t half = f32_to_f16(value);
    std::memcpy(at, &half, sizeof half);
  }

  DType dtype_;
  int64_t rows_, cols_;
  std::vector<std::byte> bytes_;
};

inline constexpr DType kAllDTypes[] = {
    DType::F32,  DType::F16,  DType::BF16, DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1,
    DType::Q8_0, DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K,
};

}  // namespace kvi
