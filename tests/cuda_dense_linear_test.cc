// Large matrix products on a GPU: every format against sums in double precision.
#include "backend/cuda/dense_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "backend/cuda/cuda_matrix.h"
#include "support/cuda_kernel_fixture.h"
#include "support/random_matrix.h"

namespace kvi::cuda {
namespace {

constexpr DType kDenseTypes[] = {DType::F16,  DType::BF16, DType::Q4_0, DType::Q4_1, DType::Q5_0,
                                 DType::Q5_1, DType::Q8_0, DType::Q4_K, DType::Q5_K, DType::Q6_K};

class CudaDenseLinearTest : public CudaKernelTest {
 protected:
  void SetUp() override {
    CudaKernelTest::SetUp();
    if (IsSkipped()) return;
    shape_.max_rows = 301;
    shape_.ffn_len = 512;
    Scratch count(nullptr);
    DenseLinear::Room(shape_, count);
    memory_ = std::make_unique<DeviceBuffer>(device_, count.size_bytes(), "a test");
    launcher_ = std::make_unique<Launcher>(kernels_);
    Scratch scratch(memory_->data());
    dense_ = std::make_unique<DenseLinear>(device_, *launcher_, DenseLinear::Room(shape_, scratch));
  }

  static bool is_bf16(DType dtype) { return dtype == DType::BF16; }
  static uint16_t half_of(DType dtype, float value) {
    return is_bf16(dtype) ? f32_to_bf16(value) : f32_to_f16(value);
  }
  static double value_of(DType dtype, uint16_t half) {
    return is_bf16(dtype) ? bf16_to_f32(half) : f16_to_f32(half);
  }
  std::vector<uint16_t> random_halves(DType dtype, int64_t count, float deviation = 1) {
    std::vector<uint16_t> halves;
    for (float value : random_values(static_cast<size_t>(count), deviation)) {
      halves.push_back(half_of(dtype, value));
    }
    return halves;
  }
  // [num_tokens, rows]
  static std::vector<double> product(const RandomMatrix& matrix, const std::vector<uint16_t>& x,
                                     int num_tokens) {
    const int64_t rows = matrix.rows(), cols = matrix.cols();
    std::vector<double> sums(static_cast<size_t>(num_tokens * rows));
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<float> weights = matrix.row(row);
      for (int token = 0; token < num_tokens; ++token) {
        double sum = 0;
        for (int64_t k = 0; k < cols; ++k) {
          sum += weights[k] * value_of(matrix.dtype(), x[token * cols + k]);
        }
        sums[token * rows + row] = sum;
      }
    }
    return sums;
  }

  ExecutorShape shape_;
  std::unique_ptr<DeviceBuffer> memory_;
  std::unique_ptr<Launcher> launcher_;
  std::unique_ptr<DenseLinear> dense_;
};

TEST_F(CudaDenseLinearTest, ProductsOfEveryFormatAreNearTheirDefinition) {
  for (DType dtype : kDenseTypes) {
    for (auto [rows, cols, num_tokens] : {std::tuple{264, 768, 226}, {40, 256, 300}}) {
      const RandomMatrix matrix(dtype, rows, cols, random_);
      const CudaMatrix weight(device_, matrix.source());
      if (!dense_->serves(weight, num_tokens)) GTEST_SKIP() << "there is no cuBLASLt";
      const std::vector<uint16_t> x = random_halves(dtype, num_tokens * cols);
      const std::vector<float> biases = random_values(rows);
      const std::vector<float> before = random_values(num_tokens * rows);
      const CudaVector bias(device_, biases);
      const auto x_there = upload(x);
      const std::vector<double> sums = product(matrix, x, num_tokens);
      for (const bool adds : {false, true}) {
        const auto out = adds ? upload(before) : poisoned(num_tokens * rows);
        ASSERT_TRUE(dense_->multiply({&weight, adds ? nullptr : &bias}, x_there.data(), num_tokens,
                                     out.data(), adds ? StreamOutput::add_f32 : StreamOutput::f32));
        std::vector<double> exact = sums;
        for (size_t i = 0; i < exact.size(); ++i) exact[i] += adds ? before[i] : biases[i % rows];
        EXPECT_LT(error_of(download(out), exact), 1e-3) << dtype_name(dtype) << " " << rows;
      }
    }
  }
}

TEST_F(CudaDenseLinearTest, GatesAreAppliedToRoundedProducts) {
  const int rows = 512, cols = 256, num_tokens = 301;
  for (DType dtype : {DType::F16, DType::BF16, DType::Q4_K}) {
    for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
      const RandomMatrix gates(dtype, rows, cols, random_), ups(dtype, rows, cols, random_);
      const CudaMatrix gate(device_, gates.source()), up(device_, ups.source());
      if (!dense_->serves(gate, num_tokens)) GTEST_SKIP() << "there is no cuBLASLt";
      const std::vector<uint16_t> x = random_halves(dtype, num_tokens * cols, 0.02f);
      const auto x_there = upload(x);
      const auto out = upload(std::vector<uint16_t>(num_tokens * rows, 0xffff));
      MlpWeights weights;
      weights.gate.weight = &gate;
      weights.up.weight = &up;
      weights.activation = activation;
      ASSERT_TRUE(dense_->multiply_gated(weights, x_there.data(), num_tokens, out.data()));
      std::vector<double> exact = product(gates, x, num_tokens);
      const std::vector<double> up_sums = product(ups, x, num_tokens);
      for (size_t i = 0; i < exact.size(); ++i) {
        const double g = exact[i];
        const double active = activation == Activation::silu
                                  ? g / (1 + std::exp(-g))
                                  : 0.5 * g *
                                        (1 + std::tanh(std::sqrt(2 / M_PI) *
                                                       (g + 0.044715 * g * g * g)));
        exact[i] = active * up_sums[i];
      }
      std::vector<float> found;
      for (uint16_t half : download(out)) {
        found.push_back(static_cast<float>(value_of(dtype, half)));
      }
      EXPECT_LT(error_of(found, exact), is_bf16(dtype) ? 1e-2 : 2e-3) << dtype_name(dtype);
    }
  }
}

}  // namespace
}  // namespace kvi::cuda
