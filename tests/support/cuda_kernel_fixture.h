// What tests of CUDA kernels share: a device, poisoned arrays with guards behind them, pages of sequences.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels.h"
#include "cuda/rows.h"
#include "support/seed.h"
#include "tensor/half.h"
#include "tensor/layout.h"

namespace kvi::cuda {

inline constexpr float kPoison = -1.25e30f;
inline constexpr DType kKvTypes[] = {DType::F32, DType::F16, DType::BF16};

inline uint32_t groups(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}

class CudaKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    const std::vector<DeviceDescription> found = devices(&why);
    if (found.empty() || !found[0].unsupported_reason.empty()) {
      GTEST_SKIP() << (found.empty() ? why : found[0].unsupported_reason);
    }
    device_ = std::make_shared<Device>(open_driver(), 0);
    kernels_ = std::make_shared<Kernels>(device_);
  }

  // An array on the device, with as much again behind it that nobody may write.
  template <typename T>
  struct Array {
    std::shared_ptr<DeviceBuffer> buffer;
    size_t size;
    T* data() const { return reinterpret_cast<T*>(buffer->data()); }
  };

  template <typename T>
  Array<T> upload(const std::vector<T>& values) {
    Array<T> array = {
        std::make_shared<DeviceBuffer>(device_, 2 * values.size() * sizeof(T), "a test"),
        values.size()};
    std::vector<std::byte> bytes(2 * values.size() * sizeof(T), std::byte{0xff});  // NaN behind
    std::memcpy(bytes.data(), values.data(), values.size() * sizeof(T));
    copy_to_device(*device_, array.buffer->data(), bytes);
    return array;
  }
  Array<float> poisoned(size_t size) { return upload(std::vector<float>(size, kPoison)); }

  template <typename T>
  std::vector<T> download(const Array<T>& array) {
    std::vector<T> values(2 * array.size);
    copy_to_host(*device_, std::as_writable_bytes(std::span(values)), array.buffer->data());
    device_->synchronize();
    const std::byte* behind = reinterpret_cast<const std::byte*>(values.data() + array.size);
    for (size_t i = 0; i < array.size * sizeof(T); ++i) {
      if (behind[i] != std::byte{0xff}) {
        ADD_FAILURE() << "written behind the end, " << i << " bytes";
        break;
      }
    }
    values.resize(array.size);
    return values;
  }

  std::vector<float> random_values(size_t count, float deviation = 1, float mean = 0) {
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }

  // The largest difference as a part of the largest value.
  static double error_of(const std::vector<float>& found, const std::vector<double>& exact) {
    double difference = 0, largest = 1e-30;
    for (size_t i = 0; i < exact.size(); ++i) {
      if (!std::isfinite(found[i])) return INFINITY;
      difference = std::max(difference, std::abs(found[i] - exact[i]));
      largest = std::max(largest, std::abs(exact[i]));
    }
    return difference / largest;
  }

  std::mt19937_64 random_{test_seed()};
  std::shared_ptr<const Device> device_;
  std::shared_ptr<const Kernels> kernels_;
};

// Rows of several sequences over pages in any order, in the layout that the backend uses.
struct PagedCase {
  DType dtype = DType::F16;
  int num_heads = 4, num_kv_heads = 2, head_dim = 16, page_len = 16;
  int window = 0;
  float softcap = 0;
  std::vector<std::vector<int>> positions = {{0, 1, 2, 3}, {70}, {33, 34}, {300}};  // by sequence
};

inline double rounded(DType dtype, float value) {
  if (dtype == DType::F16) return f16_to_f32(f32_to_f16(value));
  if (dtype == DType::BF16) return bf16_to_f32(f32_to_bf16(value));
  return value;
}

inline void encode(DType dtype, float value, std::byte* at) {
  const uint16_t half = dtype == DType::F16 ? f32_to_f16(value) : f32_to_bf16(value);
  if (dtype == DType::F32) {
    std::memcpy(at, &value, 4);
  } else {
    std::memcpy(at, &half, 2);
  }
}

inline double decode(DType dtype, const std::byte* at) {
  float value;
  uint16_t half;
  std::memcpy(&value, at, dtype == DType::F32 ? 4 : 2);
  std::memcpy(&half, at, 2);
  return dtype == DType::F32 ? value : dtype == DType::F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

class CudaPagedKernelTest : public CudaKernelTest {
 protected:
  // Pages, tables and rows of a case; memory outside tables is NaN.
  struct Setup {
    PageLayout layout;
    std::vector<std::byte> memory;
    std::vector<int32_t> pages, sequence, positions;
    std::vector<int64_t> first;

    std::byte* slot(const Plane& plane, int row_sequence, int position, int head) {
      const int page = pages[first[row_sequence] + position / layout.page_len];
      return memory.data() + page * layout.page_bytes + plane.offset + head * plane.head_stride +
             position % layout.page_len * plane.slot_stride;
    }
  };

  Setup set_up(const PagedCase& c) {
    Setup s;
    s.layout = canonical_layout({{0, 1, 8, 8, DType::F32, DType::F32},
                                 {1, c.num_kv_heads, c.head_dim, c.head_dim, c.dtype, c.dtype}},
                                c.page_len);
    for (size_t q = 0; q < c.positions.size(); ++q) {
      s.first.push_back(std::ssize(s.pages));
      for (int position : c.positions[q]) {
        s.positions.push_back(position);
        s.sequence.push_back(static_cast<int32_t>(q));
      }
      s.pages.resize(s.pages.size() + c.positions[q].back() / c.page_len + 1);
    }
    for (size_t i = 0; i < s.pages.size(); ++i) s.pages[i] = static_cast<int32_t>(i + 1);
    std::shuffle(s.pages.begin(), s.pages.end(), random_);
    s.memory.assign((s.pages.size() + 2) * s.layout.page_bytes, std::byte{0xff});
    return s;
  }

  PagePlane place(const Plane& plane) const {
    return {plane.offset, plane.head_stride, plane.slot_stride};
  }
  static int shift(const PageLayout& layout) {
    return std::countr_zero(static_cast<unsigned>(layout.page_len));
  }
};

}  // namespace kvi::cuda
