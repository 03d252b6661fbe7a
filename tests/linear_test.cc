#include "backend/cpu/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/random_matrix.h"
#include "support/same_bits.h"
#include "support/seed.h"

namespace kvi::cpu {
namespace {

constexpr float kPoison = -1.25e30f;

bool is_plain(DType dtype) { return dtype_info(dtype).block_len == 1; }

// Rows whose blocks differ in size by orders of magnitude, with outliers and blocks of zeros.
std::vector<float> random_inputs(int num_rows, int64_t cols, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> inputs(num_rows * cols);
  float size = 1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i % 32 == 0) size = random() % 8 == 0 ? 0 : std::exp(normal(random));
    inputs[i] = size * normal(random);
    if (random() % 257 == 0) inputs[i] *= 40;
  }
  return inputs;
}

struct Outputs {
  int num_rows;
  int64_t len, stride;
  std::vector<float> values;  // [num_rows, stride]

  Outputs(int num_rows, int64_t len, int64_t stride)
      : num_rows(num_rows), len(len), stride(stride), values(num_rows * stride, kPoison) {}

  std::span<const float> row(int index) const {
    return std::span(values).subspan(index * stride, len);
  }
  void expect_padding_untouched() const {
    for (int row = 0; row < num_rows; ++row) {
      for (int64_t i = len; i < stride; ++i) ASSERT_EQ(values[row * stride + i], kPoison);
    }
  }
};

Outputs multiply(ThreadPool& pool, Isa isa, const Matrix& weight, const std::vector<float>& inputs,
                 int first_row, int num_rows, Precision precision) {
  LinearInput input(num_rows, weight.cols(), precision);
  input.assign(pool, isa, inputs.data() + first_row * weight.cols(), weight.cols(), num_rows,
               weight.cols());
  Outputs outputs(num_rows, weight.rows(), weight.rows() + 5);
  linear(pool, isa, weight, input, nullptr, LinearResult::store, outputs.values.data(),
         outputs.stride);
  outputs.expect_padding_untouched();
  return outputs;
}

struct Shape {
  int64_t rows, cols;
};

// Columns that the type allows, near the wanted ones.
int64_t fit_cols(DType dtype, int64_t cols) {
  const int64_t block = dtype_info(dtype).block_len;
  return (cols + block - 1) / block * block;
}

constexpr Shape kShapes[] = {{1, 32},    {16, 64},   {33, 576},  {50, 1536},
                             {100, 640}, {130, 256}, {64, 2048}, {19, 14336}};
constexpr int kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, 128};

class LinearTest : public testing::TestWithParam<std::tuple<Isa, DType>> {
 protected:
  void SetUp() override {
    if (*why_unsupported(isa_)) {
      GTEST_SKIP() << "this machine cannot run " << isa_name(isa_) << ": " << why_unsupported(isa_);
    }
  }

  // Row counts for a shape: all of them for small ones.
  static std::vector<int> row_counts(const Shape& shape) {
    if (shape.rows * shape.cols < 60000) return {std::begin(kRowCounts), std::end(kRowCounts)};
    return {1, 7, 33};
  }

  Isa isa_ = std::get<0>(GetParam());
  DType dtype_ = std::get<1>(GetParam());
  std::mt19937_64 random_{test_seed()};
  ThreadPool pool_{2};
  WeightMemory memory_;
};

// With f32 inputs each output is one chain of fused multiply-adds over the exact weights.
TEST_P(LinearTest, FloatInputsGiveTheBitsOfThePlainLoop) {
  for (Shape shape : kShapes) {
    shape.cols = is_plain(dtype_) ? shape.cols - 1 : fit_cols(dtype_, shape.cols);
    const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
    const auto packed = pack_matrix(matrix.source(), memory_);
    for (int num_rows : row_counts(shape)) {
      const std::vector<float> inputs = random_inputs(num_rows, shape.cols, random_);
      const Outputs outputs = multiply(pool_, isa_, *packed, inputs, 0, num_rows,
                                       Precision::f32_activations);
      for (int64_t n = 0; n < shape.rows; ++n) {
        const std::vector<float> weights = matrix.row(n);
        for (int m = 0; m < num_rows; ++m) {
          float sum = 0;
          for (int64_t k = 0; k < shape.cols; ++k) {
            sum = std::fma(weights[k], inputs[m * shape.cols + k], sum);
          }
          ASSERT_TRUE(same_bits({&sum, 1}, outputs.row(m).subspan(n, 1)))
              << shape.rows << " x " << shape.cols << ", row " << m << " of " << num_rows
              << ", output " << n;
        }
      }
    }
  }
}

// The values that 8 bits with a scale per 32 columns stand for.
std::vector<float> rounded_inputs(const std::vector<float>& inputs) {
  std::vector<float> rounded(inputs.size());
  for (size_t block = 0; block < inputs.size(); block += 32) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(inputs[block + i]));
    for (size_t i = 0; i < 32 && largest > 0; ++i) {
      rounded[block + i] = std::nearbyint(inputs[block + i] * (127 / largest)) * (largest / 127);
    }
  }
  return rounded;
}

TEST_P(LinearTest, Int8InputsGiveTheProductOfTheRoundedInputs) {
  if (is_plain(dtype_)) GTEST_SKIP() << "plain weights always meet f32 inputs";
  for (Shape shape : kShapes) {
    shape.cols = fit_cols(dtype_, shape.cols);
    const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
    const auto packed = pack_matrix(matrix.source(), memory_);
    for (int num_rows : row_counts(shape)) {
      const std::vector<float> inputs = random_inputs(num_rows, shape.cols, random_);
      const std::vector<float> rounded = rounded_inputs(inputs);
      const Outputs outputs = multiply(pool_, isa_, *packed, inputs, 0, num_rows,
                                       Precision::int8_activations);
      for (int64_t n = 0; n < shape.rows; ++n) {
        const std::vector<float> weights = matrix.row(n);
        for (int m = 0; m < num_rows; ++m) {
          double sum = 0, magnitude = 0;
          for (int64_t k = 0; k < shape.cols; ++k) {
            const double product = double{weights[k]} * rounded[m * shape.cols + k];
            sum += product;
            magnitude += std::fabs(product);
          }
          // The scale and min terms are summed apart, so their sizes bound the error, not the result's.
          ASSERT_NEAR(outputs.row(m)[n], sum, 4e-5 * magnitude + 1e-30)
              << shape.rows << " x " << shape.cols << ", row " << m << " of " << num_rows
              << ", output " << n;
        }
      }
    }
  }
}

TEST_P(LinearTest, Int8InputsGiveTheBitsOfTheScalarKernels) {
  for (Shape shape : kShapes) {
    shape.cols = fit_cols(dtype_, shape.cols);
    const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
    const auto packed = pack_matrix(matrix.source(), memory_);
    for (int num_rows : row_counts(shape)) {
      const std::vector<float> inputs = random_inputs(num_rows, shape.cols, random_);
      const Outputs expected = multiply(pool_, Isa::scalar, *packed, inputs, 0, num_rows,
                                        Precision::int8_activations);
      const Outputs outputs = multiply(pool_, isa_, *packed, inputs, 0, num_rows,
                                       Precision::int8_activations);
      ASSERT_TRUE(same_bits(expected.values, outputs.values))
          << shape.rows << " x " << shape.cols << ", " << num_rows << " rows";
    }
  }
}

TEST_P(LinearTest, ARowsBitsDependOnNeitherItsCompanyNorTheThreads) {
  const Shape shape = {200, fit_cols(dtype_, 640)};
  const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
  const auto packed = pack_matrix(matrix.source(), memory_);
  constexpr int kRows = 150;
  const std::vector<float> inputs = random_inputs(kRows, shape.cols, random_);
  for (Precision precision : {Precision::int8_activations, Precision::f32_activations}) {
    const Outputs all = multiply(pool_, isa_, *packed, inputs, 0, kRows, precision);
    for (int num_threads : {1, 3}) {
      ThreadPool pool(num_threads);
      EXPECT_TRUE(
          same_bits(all.values, multiply(pool, isa_, *packed, inputs, 0, kRows, precision).values));
      for (int num_rows : {1, 2, 3, 5, 6, 7, 13, 16, 17, 64, 65, 100}) {
        const int first = static_cast<int>(random_() % (kRows - num_rows + 1));
        const Outputs some = multiply(pool, isa_, *packed, inputs, first, num_rows, precision);
        for (int row = 0; row < num_rows; ++row) {
          ASSERT_TRUE(same_bits(all.row(first + row), some.row(row))) << num_rows << " rows";
        }
      }
    }
  }
}

TEST_P(LinearTest, BiasIsAddedAndAddKeepsWhatWasThere) {
  const Shape shape = {37, fit_cols(dtype_, 96)};
  const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
  const auto packed = pack_matrix(matrix.source(), memory_);
  const std::vector<float> bias = random_inputs(1, shape.rows, random_);
  const std::vector<float> residual = random_inputs(9, shape.rows, random_);
  const std::vector<float> inputs = random_inputs(9, shape.cols, random_);
  for (Precision precision : {Precision::int8_activations, Precision::f32_activations}) {
    const Outputs product = multiply(pool_, isa_, *packed, inputs, 0, 9, precision);
    LinearInput input(9, shape.cols, precision);
    input.assign(pool_, isa_, inputs.data(), shape.cols, 9, shape.cols);
    std::vector<float> stored(9 * shape.rows, kPoison), added = residual;
    linear(pool_, isa_, *packed, input, bias.data(), LinearResult::store, stored.data(),
           shape.rows);
    linear(pool_, isa_, *packed, input, bias.data(), LinearResult::add, added.data(), shape.rows);
    for (int m = 0; m < 9; ++m) {
      for (int64_t n = 0; n < shape.rows; ++n) {
        const float expected = product.row(m)[n] + bias[n];
        ASSERT_EQ(stored[m * shape.rows + n], expected);
        ASSERT_EQ(added[m * shape.rows + n], residual[m * shape.rows + n] + expected);
      }
    }
  }
}

TEST_P(LinearTest, SeveralMatricesInOneLoopGiveWhatEachGivesAlone) {
  const int64_t cols = fit_cols(dtype_, 576);
  const RandomMatrix q(dtype_, 576, cols, random_), k(dtype_, 192, cols, random_);
  const RandomMatrix v(DType::F16, 70, cols, random_);
  const auto packed_q = pack_matrix(q.source(), memory_),
             packed_k = pack_matrix(k.source(), memory_);
  const auto packed_v = pack_matrix(v.source(), memory_);
  for (int num_rows : {1, 4, 150}) {
    const std::vector<float> inputs = random_inputs(num_rows, cols, random_);
    LinearInput input(num_rows, cols, Precision::int8_activations);
    input.assign(pool_, isa_, inputs.data(), cols, num_rows, cols);
    Outputs out_q(num_rows, 576, 576), out_k(num_rows, 192, 200), out_v(num_rows, 70, 71);
    const LinearTarget targets[] = {
        {packed_q.get(), nullptr, LinearResult::store, out_q.values.data(), out_q.stride},
        {packed_k.get(), nullptr, LinearResult::store, out_k.values.data(), out_k.stride},
        {packed_v.get(), nullptr, LinearResult::store, out_v.values.data(), out_v.stride}};
    linear(pool_, isa_, targets, input);
    const Matrix* weights[] = {packed_q.get(), packed_k.get(), packed_v.get()};
    const Outputs* outputs[] = {&out_q, &out_k, &out_v};
    for (int i = 0; i < 3; ++i) {
      outputs[i]->expect_padding_untouched();
      const Outputs alone = multiply(pool_, isa_, *weights[i], inputs, 0, num_rows,
                                     Precision::int8_activations);
      for (int row = 0; row < num_rows; ++row) {
        ASSERT_TRUE(same_bits(alone.row(row), outputs[i]->row(row)));
      }
    }
  }
}

TEST_P(LinearTest, InfinitiesAndNanReachTheirRowsOutputsOnly) {
  const Shape shape = {40, fit_cols(dtype_, 64)};
  const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
  const auto packed = pack_matrix(matrix.source(), memory_);
  std::vector<float> inputs = random_inputs(3, shape.cols, random_);
  inputs[3] = std::numeric_limits<float>::quiet_NaN();
  inputs[shape.cols + 40] = -std::numeric_limits<float>::infinity();
  for (Precision precision : {Precision::int8_activations, Precision::f32_activations}) {
    const Outputs outputs = multiply(pool_, isa_, *packed, inputs, 0, 3, precision);
    for (int64_t n = 0; n < shape.rows; ++n) {
      EXPECT_TRUE(std::isnan(outputs.row(0)[n]));
      EXPECT_FALSE(std::isfinite(outputs.row(1)[n]));
      EXPECT_TRUE(std::isfinite(outputs.row(2)[n]));
    }
  }
}

TEST_P(LinearTest, TinyAndHugeInputsKeepTheirScale) {
  const Shape shape = {16, fit_cols(dtype_, 64)};
  const RandomMatrix matrix(dtype_, shape.rows, shape.cols, random_);
  const auto packed = pack_matrix(matrix.source(), memory_);
  std::vector<float> inputs(3 * shape.cols, 0.0f);
  inputs[1] = 1e-42f;  // taken for zero with int8 inputs
  inputs[shape.cols + 1] = 1e-20f;
  inputs[2 * shape.cols + 1] = 1e30f;
  const Outputs outputs = multiply(pool_, isa_, *packed, inputs, 0, 3, Precision::int8_activations);
  for (int64_t n = 0; n < shape.rows; ++n) {
    const float weight = matrix.row(n)[1];
    EXPECT_NEAR(outputs.row(0)[n], 0, 1e-40);
    EXPECT_NEAR(outputs.row(1)[n], weight * 1e-20f, 1e-23);
    EXPECT_NEAR(outputs.row(2)[n], weight * 1e30f, 1e27);
  }
}

INSTANTIATE_TEST_SUITE_P(, LinearTest,
                         testing::Combine(testing::ValuesIn(kAllIsas),
                                          testing::ValuesIn(kAllDTypes)),
                         [](const auto& info) {
                           return std::string(isa_name(std::get<0>(info.param))) + "_" +
                                  dtype_name(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace kvi::cpu
