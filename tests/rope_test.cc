#include "backend/cpu/rope.h"

#include <cmath>

#include "backend/cpu/rope_angles.h"
#include "support/seed.h"
#include "support/vector_testing.h"

namespace kvi::cpu {
namespace {

Rope make_rope(RopePairs pairs, int rotary_dim, double base, float attention_factor = 1) {
  Rope rope;
  rope.pairs = pairs;
  rope.rotary_dim = rotary_dim;
  rope.attention_factor = attention_factor;
  for (int i = 0; i < rotary_dim / 2; ++i) {
    rope.inverse_frequencies.push_back(std::pow(base, -2.0 * i / rotary_dim));
  }
  return rope;
}

// The definition: pair i turns by position * inverse_frequency[i].
std::vector<double> rotate_exactly(const Rope& rope, int position, std::span<const float> head) {
  std::vector<double> out(head.begin(), head.end());
  for (int i = 0; i < rope.rotary_dim / 2; ++i) {
    const bool adjacent = rope.pairs == RopePairs::interleaved;
    const int a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + rope.rotary_dim / 2;
    const double angle = position * rope.inverse_frequencies[i];
    const double c = std::cos(angle) * rope.attention_factor;
    const double s = std::sin(angle) * rope.attention_factor;
    out[a] = head[a] * c - head[b] * s;
    out[b] = head[b] * c + head[a] * s;
  }
  return out;
}

// The angles of some positions, with the memory they lie in.
class Angles {
 public:
  Angles(int max_head_dim, std::vector<int32_t> positions)
      : shape_{.max_rows = static_cast<int>(positions.size()), .head_dim = max_head_dim},
        positions_(std::move(positions)),
        memory_(bytes(shape_)),
        scratch_(memory_.data()),
        angles_(shape_, scratch_) {
    angles_.begin_step(positions_);
  }
  RopeAngles* operator->() { return &angles_; }

 private:
  static uint64_t bytes(const ExecutorShape& shape) {
    Scratch count(nullptr);
    RopeAngles(shape, count);
    return count.size_bytes();
  }
  ExecutorShape shape_;
  std::vector<int32_t> positions_;
  AlignedMemory memory_;
  Scratch scratch_;
  RopeAngles angles_;
};

class RopeTest : public VectorOpsTest {};

TEST_P(RopeTest, EachPairTurnsByItsAngleAndTheRestPasses) {
  std::mt19937_64 random(test_seed());
  ThreadPool pool(2);
  const std::vector<int32_t> positions = {0, 1, 7, 511, 8191, 131071};
  for (RopePairs pairs : {RopePairs::interleaved, RopePairs::half_split}) {
    for (auto [head_dim, rotary_dim] : {std::pair{64, 64},
                                        {16, 16},
                                        {80, 32},
                                        {80, 80},
                                        {128, 96},
                                        {256, 256},
                                        {8, 8},
                                        {24, 6}}) {
      const Rope rope = make_rope(pairs, rotary_dim, 10000, 1.25f);
      Angles angles(head_dim, positions);
      angles->prepare(pool, rope);
      for (size_t row = 0; row < positions.size(); ++row) {
        std::vector<float> head = random_values(head_dim, random);
        const std::vector<double> exact = rotate_exactly(rope, positions[row], head);
        head.push_back(kUntouched);
        std::vector<float> scalar = head;
        ops().rotate(pairs, angles->at(rope, static_cast<int>(row)), rotary_dim, head.data());
        for (int i = 0; i < head_dim; ++i)
          EXPECT_NEAR(head[i], exact[i], 2e-6) << rotary_dim << " " << i;
        kScalarVectorOps.rotate(pairs, angles->at(rope, static_cast<int>(row)), rotary_dim,
                                scalar.data());
        EXPECT_TRUE(same_bits(head, scalar));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, RopeTest, vector_isas(), isa_test_name);

TEST(RopeAnglesTest, ThreeRotationsTakeTurnsAndStayRight) {
  ThreadPool pool(1);
  const Rope ropes[] = {make_rope(RopePairs::half_split, 8, 10000),
                        make_rope(RopePairs::half_split, 8, 1000000),
                        make_rope(RopePairs::half_split, 4, 500)};
  Angles angles(8, {3, 70});
  for (int turn = 0; turn < 7; ++turn) {
    const Rope& rope = ropes[turn % 3];
    angles->prepare(pool, rope);
    for (int row = 0; row < 2; ++row) {
      const double angle = (row == 0 ? 3 : 70) * rope.inverse_frequencies[1];
      EXPECT_EQ(angles->at(rope, row).cosines[1], static_cast<float>(std::cos(angle)));
      EXPECT_EQ(angles->at(rope, row).sines[1], static_cast<float>(std::sin(angle)));
    }
  }
}

TEST(RopeAnglesTest, ANewStepForgetsTheOldPositions) {
  ThreadPool pool(1);
  const Rope rope = make_rope(RopePairs::interleaved, 8, 10000);
  Angles angles(8, {3});
  angles->prepare(pool, rope);
  const std::vector<int32_t> next = {4};
  angles->begin_step(next);
  angles->prepare(pool, rope);
  EXPECT_EQ(angles->at(rope, 0).cosines[0], static_cast<float>(std::cos(4.0)));
}

}  // namespace
}  // namespace kvi::cpu
