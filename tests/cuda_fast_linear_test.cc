// The fast matrix products on a GPU against sums in double precision: every format, odd shapes, each way they end.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cuda/cuda_matrix.h"
#include "backend/cuda/fast_linear.h"
#include "support/cuda_kernel_fixture.h"
#include "support/random_matrix.h"

namespace kvi::cuda {
namespace {

constexpr DType kTypes[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q4_0,
                            DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0,
                            DType::Q2_K, DType::Q4_K, DType::Q5_K, DType::Q6_K};

class CudaFastLinearTest : public CudaKernelTest {
 protected:
  void SetUp() override {
    CudaKernelTest::SetUp();
    if (IsSkipped()) return;
    launcher_ = std::make_unique<Launcher>(kernels_);
    ExecutorShape shape;
    shape.max_rows = 300;
    shape.embedding_len = shape.q_len = shape.ffn_len = 4096;
    Scratch count(nullptr);
    FastLinear::Room(shape, count);
    room_ = std::make_unique<DeviceBuffer>(device_, count.size_bytes(), "a test");
    Scratch scratch(room_->data());
    linear_ = std::make_unique<FastLinear>(device_, *launcher_, FastLinear::Room(shape, scratch));
  }

  // x as a product reads it, and the same in f32.
  std::vector<uint16_t> rounded(const std::vector<float>& x, Format format, std::vector<float>& y) {
    std::vector<uint16_t> halves;
    y.clear();
    for (float value : x) {
      halves.push_back(format == Format::bf16 ? f32_to_bf16(value) : f32_to_f16(value));
      y.push_back(format == Format::bf16 ? bf16_to_f32(halves.back()) : f16_to_f32(halves.back()));
    }
    return halves;
  }

  struct Sum {
    double value = 0, magnitude = 0;
  };
  static std::vector<Sum> products(const RandomMatrix& weight, const std::vector<float>& x,
                                   int num_rows) {
    std::vector<Sum> sums(static_cast<size_t>(num_rows * weight.rows()));
    for (int64_t n = 0; n < weight.rows(); ++n) {
      const std::vector<float> w = weight.row(n);
      for (int t = 0; t < num_rows; ++t) {
        Sum& sum = sums[static_cast<size_t>(t * weight.rows() + n)];
        for (int64_t k = 0; k < weight.cols(); ++k) {
          const double part = double{w[k]} * x[t * weight.cols() + k];
          sum.value += part;
          sum.magnitude += std::abs(part);
        }
      }
    }
    return sums;
  }

  std::unique_ptr<Launcher> launcher_;
  std::unique_ptr<DeviceBuffer> room_;
  std::unique_ptr<FastLinear> linear_;
};

constexpr double kWeightError = 1e-3;  // of a sum's magnitude: weights are rounded to f16

TEST_F(CudaFastLinearTest, ProductsSideBySideAreNearTheirDefinition) {
  for (DType dtype : kTypes) {
    const int block = std::max(dtype_info(dtype).block_len, 64);
    for (auto [rows, cols, num_rows] : {std::tuple{48, block, 1},
                                        {37, 3 * block, 3},
                                        {16, 17 * 256, 8},
                                        {130, 2 * block, 9},
                                        {64, 5 * block, 16},
                                        {33, 4 * block, 31},
                                        {200, 2 * block, 64},
                                        {70, 3 * block, 65},
                                        {48, 2 * block, 190}}) {
      const RandomMatrix first(dtype, rows, cols, random_), second(dtype, 19, cols, random_);
      const CudaMatrix there1(device_, first.source()), there2(device_, second.source());
      const Format format = FastLinear::input_format(there1);
      std::vector<float> x;
      const auto x_there = upload(rounded(random_values(num_rows * cols), format, x));
      const std::vector<float> bias = random_values(rows);
      const CudaVector bias_there(device_, bias);
      const Linear linear1 = {&there1, &bias_there}, linear2 = {&there2, nullptr};
      for (const bool adds : {false, true}) {
        const std::vector<float> before1 = random_values(num_rows * rows),
                                 before2 = random_values(num_rows * 19);
        const auto out1 = adds ? upload(before1) : poisoned(before1.size());
        const auto out2 = adds ? upload(before2) : poisoned(before2.size());
        const FastLinear::Product both[] = {{&linear1, out1.data()}, {&linear2, out2.data()}};
        linear_->multiply(both, x_there.data(), num_rows,
                          adds ? StreamOutput::add_f32 : StreamOutput::f32);
        const auto check = [&](const std::vector<float>& found, const std::vector<Sum>& sums,
                               const std::vector<float>& before, const float* of_row, int64_t n) {
          for (size_t i = 0; i < found.size(); ++i) {
            const double exact = sums[i].value + (adds ? before[i] : 0.0f) +
                                 (of_row != nullptr ? of_row[i % n] : 0.0f);
            ASSERT_NEAR(found[i], exact, kWeightError * sums[i].magnitude + 1e-5)
                << dtype_name(dtype) << " " << n << "x" << cols << ", " << num_rows << " rows, at "
                << i;
          }
        };
        check(download(out1), products(first, x, num_rows), before1, bias.data(), rows);
        check(download(out2), products(second, x, num_rows), before2, nullptr, 19);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(CudaFastLinearTest, GatedProductsAreNearTheirDefinition) {
  for (DType dtype : kTypes) {
    const int block = std::max(dtype_info(dtype).block_len, 64);
    for (auto [rows, num_rows] : {std::pair{48, 1}, {100, 7}, {64, 30}, {33, 64}, {48, 130}}) {
      const int cols = 2 * block;
      const RandomMatrix gates(dtype, rows, cols, random_), ups(dtype, rows, cols, random_);
      const CudaMatrix gates_there(device_, gates.source()), ups_there(device_, ups.source());
      std::vector<float> x;
      const auto x_there = upload(
          rounded(random_values(num_rows * cols, 0.3f), FastLinear::input_format(ups_there), x));
      const std::vector<Sum> gate = products(gates, x, num_rows), up = products(ups, x, num_rows);
      for (const bool has_gate : {true, false}) {
        for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
          MlpWeights weights;
          if (has_gate) weights.gate.weight = &gates_there;
          weights.up.weight = &ups_there;
          weights.activation = activation;
          const auto out = upload(std::vector<uint16_t>(num_rows * rows, 0x7e01));
          linear_->multiply_gated(weights, x_there.data(), num_rows, out.data(), Format::f16);
          const std::vector<uint16_t> found = download(out);
          for (size_t i = 0; i < found.size(); ++i) {
            const double g = has_gate ? gate[i].value : up[i].value;
            const double u = activation == Activation::silu
                                 ? g
                                 : 1.5957691216057308 * (g + 0.044715 * g * g * g);
            const double exact = std::clamp(g / (1 + std::exp(-u)) * (has_gate ? up[i].value : 1),
                                            -65504.0, 65504.0);
            const double bound = 3 * kWeightError * (gate[i].magnitude + 1) * (up[i].magnitude + 1);
            ASSERT_NEAR(f16_to_f32(found[i]), exact, bound)
                << dtype_name(dtype) << " " << rows << " rows of weights, " << num_rows << " rows";
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvi::cuda
