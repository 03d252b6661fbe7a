// For tests of the CPU backend's vector kernels: every instruction set, random values, bitwise equality.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/vector_ops.h"
#include "support/same_bits.h"

namespace kvi::cpu {

// A test of one instruction set's kernels; skipped by name where the machine lacks it.
class VectorOpsTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    const std::string reason = why_unsupported(GetParam());
    if (!reason.empty()) {
      GTEST_SKIP() << "this machine cannot run " << isa_name(GetParam()) << ": " << reason;
    }
  }
  const VectorOps& ops() const { return vector_ops(GetParam()); }
};

// Those whose vector kernels differ.
inline auto vector_isas() { return testing::Values(Isa::scalar, Isa::avx2, Isa::avx512_vnni); }
inline std::string isa_test_name(const testing::TestParamInfo<Isa>& info) {
  return isa_name(info.param);
}

inline std::vector<float> random_values(int64_t count, std::mt19937_64& random,
                                        float deviation = 1) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// What a kernel must not write: checked behind every output.
inline constexpr float kUntouched = -1.25e30f;

}  // namespace kvi::cpu
