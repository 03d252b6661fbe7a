#include "backend/cpu/activation.h"

#include <cmath>
#include <limits>

#include "backend/cpu/simd_scalar.h"
#include "support/seed.h"
#include "support/vector_testing.h"

namespace kvi::cpu {
namespace {

// How many f32 values lie between value and exact.
double ulps(float value, double exact) {
  const float nearest = static_cast<float>(exact);
  const double spacing = std::max<double>(
      std::nextafter(std::abs(nearest), std::numeric_limits<float>::infinity()) - std::abs(nearest),
      std::numeric_limits<float>::denorm_min());
  return std::abs(value - exact) / spacing;
}

// Calls function on 16 equal lanes of many points of [from, to], and returns the largest error.
template <typename Function, typename Exact>
double worst_ulps(float from, float to, Function function, Exact exact) {
  constexpr int kPoints = 200000;
  double worst = 0;
  for (int i = 0; i <= kPoints; ++i) {
    const float x = from + (to - from) * (static_cast<float>(i) / kPoints);
    const float y = function(ScalarF32x16::broadcast(x)).lane[0];
    worst = std::max(worst, ulps(y, exact(double{x})));
  }
  return worst;
}

TEST(ElementaryTest, ExpIsWithinTwoUlpsAndExactAtZero) {
  auto function = [](ScalarF32x16 x) { return exp(x); };
  EXPECT_LE(worst_ulps(-87, 88, function, [](double x) { return std::exp(x); }), 2);
  EXPECT_LE(worst_ulps(-1, 1, function, [](double x) { return std::exp(x); }), 2);
  EXPECT_EQ(function(ScalarF32x16::broadcast(0)).lane[0], 1.0f);
}

TEST(ElementaryTest, ExpOutsideItsRangeIsThatOfTheEndAndKeepsNaN) {
  auto function = [](float x) { return exp(ScalarF32x16::broadcast(x)).lane[0]; };
  EXPECT_EQ(function(-std::numeric_limits<float>::infinity()), function(-87));
  EXPECT_EQ(function(std::numeric_limits<float>::infinity()), function(88));
  EXPECT_TRUE(std::isnan(function(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ElementaryTest, TanhIsWithinThreeUlps) {
  auto function = [](ScalarF32x16 x) { return tanh(x); };
  auto exact = [](double x) { return std::tanh(x); };
  EXPECT_LE(worst_ulps(-12, 12, function, exact), 3);
  EXPECT_LE(worst_ulps(-0.7f, 0.7f, function, exact), 3);
  EXPECT_LE(worst_ulps(1e-6f, 1e-3f, function, exact), 3);
}

TEST(ElementaryTest, SigmoidIsWithinFourUlps) {
  EXPECT_LE(worst_ulps(
                -80, 80, [](ScalarF32x16 x) { return sigmoid(x); },
                [](double x) { return 1 / (1 + std::exp(-x)); }),
            4);
}

constexpr int64_t kLens[] = {1, 15, 16, 33, 1536};

double exact_activation(Activation activation, double x) {
  if (activation == Activation::silu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

class ActivationTest : public VectorOpsTest {};

TEST_P(ActivationTest, GatedAndUngatedAreNearTheExactOnes) {
  std::mt19937_64 random(test_seed());
  for (Activation activation : {Activation::silu, Activation::gelu_tanh}) {
    for (int64_t len : kLens) {
      const std::vector<float> gate = random_values(len, random, 4),
                               up = random_values(len, random);
      for (bool gated : {false, true}) {
        std::vector<float> out(len + 1, kUntouched), scalar(len);
        ops().activate(activation, gate.data(), gated ? up.data() : nullptr, len, out.data());
        for (int64_t i = 0; i < len; ++i) {
          const double exact = exact_activation(activation, gate[i]) * (gated ? up[i] : 1);
          EXPECT_NEAR(out[i], exact, 1e-6 * std::abs(exact) + 1e-9) << gate[i];
        }
        EXPECT_EQ(out[len], kUntouched);
        kScalarVectorOps.activate(activation, gate.data(), gated ? up.data() : nullptr, len,
                                  scalar.data());
        EXPECT_TRUE(same_bits(std::span(out).first(len), scalar));
      }
    }
  }
}

TEST_P(ActivationTest, FarArgumentsSaturate) {
  for (Activation activation : {Activation::silu, Activation::gelu_tanh}) {
    const std::vector<float> gate = {200, -200, 1e4f, -1e4f, 0, -0.0f};
    std::vector<float> out(gate.size());
    ops().activate(activation, gate.data(), nullptr, static_cast<int64_t>(gate.size()), out.data());
    EXPECT_EQ(out[0], 200);
    EXPECT_NEAR(out[1], 0, 1e-30);
    EXPECT_EQ(out[2], 1e4f);
    EXPECT_NEAR(out[3], 0, 1e-30);
    EXPECT_EQ(out[4], 0);
    EXPECT_EQ(out[5], 0);
  }
}

TEST_P(ActivationTest, ElementwiseWorkIsTheScalarOneBitForBit) {
  std::mt19937_64 random(test_seed());
  for (int64_t len : kLens) {
    const std::vector<float> x = random_values(len, random, 40), y = random_values(len, random);
    std::vector<float> out = y, scalar = y;
    for (auto [to, table] : {std::pair{&out, &ops()}, {&scalar, &kScalarVectorOps}}) {
      table->add(x.data(), len, to->data());
      table->scale(1.7f, len, to->data());
      table->softcap(30, len, to->data());
    }
    EXPECT_TRUE(same_bits(out, scalar));
    for (int64_t i = 0; i < len; ++i) {
      const double exact = 30 * std::tanh((double{x[i]} + y[i]) * 1.7f / 30);
      EXPECT_NEAR(out[i], exact, 2e-5);
    }
  }
}

TEST_P(ActivationTest, StoredHeadsAreRoundedToTheNearest) {
  std::mt19937_64 random(test_seed());
  for (int head_dim : {8, 16, 40, 80}) {
    std::vector<float> head = random_values(head_dim, random, 3);
    head[0] = 65520;            // rounds to infinity in f16
    head[1] = 3e-6f;            // subnormal in f16
    constexpr int kStride = 3;  // elements
    std::vector<uint16_t> f16(head_dim * kStride, 0x1234), bf16 = f16;
    ops().store_head(head.data(), head_dim, DType::F16, reinterpret_cast<std::byte*>(f16.data()),
                     2 * kStride);
    ops().store_head(head.data(), head_dim, DType::BF16, reinterpret_cast<std::byte*>(bf16.data()),
                     2 * kStride);
    std::vector<float> f32(head_dim * kStride, kUntouched);
    ops().store_head(head.data(), head_dim, DType::F32, reinterpret_cast<std::byte*>(f32.data()),
                     4 * kStride);
    for (int i = 0; i < head_dim * kStride; ++i) {
      EXPECT_EQ(f16[i], i % kStride == 0 ? f32_to_f16(head[i / kStride]) : 0x1234);
      EXPECT_EQ(bf16[i], i % kStride == 0 ? f32_to_bf16(head[i / kStride]) : 0x1234);
      EXPECT_EQ(f32[i], i % kStride == 0 ? head[i / kStride] : kUntouched);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, ActivationTest, vector_isas(), isa_test_name);

}  // namespace
}  // namespace kvi::cpu
