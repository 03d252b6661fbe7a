#include "backend/cpu/norm.h"

#include <cmath>

#include "support/seed.h"
#include "support/vector_testing.h"

namespace kvi::cpu {
namespace {

constexpr int64_t kLens[] = {1, 5, 15, 16, 17, 64, 80, 100, 576, 640, 4099};
constexpr float kEps = 1e-5f;

class NormTest : public VectorOpsTest {};

TEST_P(NormTest, RmsNormIsNearTheExactOne) {
  std::mt19937_64 random(test_seed());
  for (int64_t len : kLens) {
    const std::vector<float> x = random_values(len, random, 3), weight = random_values(len, random);
    std::vector<float> out(len + 1, kUntouched);
    ops().rms_norm(x.data(), weight.data(), kEps, len, out.data());
    double squares = 0;
    for (float value : x) squares += double{value} * value;
    const double scale = 1 / std::sqrt(squares / len + kEps);
    for (int64_t i = 0; i < len; ++i) {
      const double exact = x[i] * scale * weight[i];
      EXPECT_NEAR(out[i], exact, 1e-6 * std::abs(exact)) << len << " " << i;
    }
    EXPECT_EQ(out[len], kUntouched);
  }
}

TEST_P(NormTest, LayerNormIsNearTheExactOneAroundALargeMean) {
  std::mt19937_64 random(test_seed());
  for (int64_t len : kLens) {
    std::vector<float> x = random_values(len, random);
    for (float& value : x) value += 20;
    const std::vector<float> weight = random_values(len, random), bias = random_values(len, random);
    for (bool has_bias : {false, true}) {
      std::vector<float> out(len + 1, kUntouched);
      ops().layer_norm(x.data(), weight.data(), has_bias ? bias.data() : nullptr, kEps, len,
                       out.data());
      double mean = 0, squares = 0;
      for (float value : x) mean += value;
      mean /= len;
      for (float value : x) squares += (value - mean) * (value - mean);
      const double scale = 1 / std::sqrt(squares / len + kEps);
      for (int64_t i = 0; i < len; ++i) {
        const double exact = (x[i] - mean) * scale * weight[i] + (has_bias ? bias[i] : 0);
        // The mean itself is rounded at 20, and then scaled.
        EXPECT_NEAR(out[i], exact, 2e-5 * (1 + scale)) << len << " " << i;
      }
      EXPECT_EQ(out[len], kUntouched);
    }
  }
}

TEST_P(NormTest, EveryInstructionSetGivesTheBitsOfTheScalarOne) {
  std::mt19937_64 random(test_seed());
  for (int64_t len : kLens) {
    const std::vector<float> x = random_values(len, random), weight = random_values(len, random),
                             bias = random_values(len, random);
    std::vector<float> rms(len), scalar_rms(len), layer(len), scalar_layer(len);
    ops().rms_norm(x.data(), weight.data(), kEps, len, rms.data());
    ops().layer_norm(x.data(), weight.data(), bias.data(), kEps, len, layer.data());
    kScalarVectorOps.rms_norm(x.data(), weight.data(), kEps, len, scalar_rms.data());
    kScalarVectorOps.layer_norm(x.data(), weight.data(), bias.data(), kEps, len,
                                scalar_layer.data());
    EXPECT_TRUE(same_bits(rms, scalar_rms)) << len;
    EXPECT_TRUE(same_bits(layer, scalar_layer)) << len;
  }
}

TEST_P(NormTest, OutMayBeTheInput) {
  std::mt19937_64 random(test_seed());
  const std::vector<float> x = random_values(100, random), weight = random_values(100, random);
  std::vector<float> apart(100), in_place = x;
  ops().rms_norm(x.data(), weight.data(), kEps, 100, apart.data());
  ops().rms_norm(in_place.data(), weight.data(), kEps, 100, in_place.data());
  EXPECT_TRUE(same_bits(apart, in_place));
}

INSTANTIATE_TEST_SUITE_P(, NormTest, vector_isas(), isa_test_name);

}  // namespace
}  // namespace kvi::cpu
