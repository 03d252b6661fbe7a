#include "backend/cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace kvi::cpu {
namespace {

TEST(IsaTest, EveryMachineHasTheScalarKernels) {
  EXPECT_EQ(supported_isas().front(), Isa::scalar);
  EXPECT_STREQ(why_unsupported(Isa::scalar), "");
}

TEST(IsaTest, AnIsaIsEitherSupportedOrSaysWhyNot) {
  const std::vector<Isa> supported = supported_isas();
  for (Isa isa : kAllIsas) {
    const bool has = std::find(supported.begin(), supported.end(), isa) != supported.end();
    EXPECT_EQ(has, std::string(why_unsupported(isa)).empty()) << isa_name(isa);
  }
  EXPECT_EQ(best_isa(), supported.back());
}

}  // namespace
}  // namespace kvi::cpu
