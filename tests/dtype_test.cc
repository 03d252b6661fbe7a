#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "support/expect_error.h"

namespace kvi {
namespace {

TEST(DTypeTest, TableMatchesTheGgufPackage) {
  // GGMLQuantizationType and GGML_QUANT_SIZES of gguf 0.19.0.
  const DTypeInfo kExpected[] = {
      {static_cast<DType>(0), "F32", 1, 4},       {static_cast<DType>(1), "F16", 1, 2},
      {static_cast<DType>(2), "Q4_0", 32, 18},    {static_cast<DType>(3), "Q4_1", 32, 20},
      {static_cast<DType>(6), "Q5_0", 32, 22},    {static_cast<DType>(7), "Q5_1", 32, 24},
      {static_cast<DType>(8), "Q8_0", 32, 34},    {static_cast<DType>(10), "Q2_K", 256, 84},
      {static_cast<DType>(11), "Q3_K", 256, 110}, {static_cast<DType>(12), "Q4_K", 256, 144},
      {static_cast<DType>(13), "Q5_K", 256, 176}, {static_cast<DType>(14), "Q6_K", 256, 210},
      {static_cast<DType>(30), "BF16", 1, 2},
  };
  for (const DTypeInfo& expected : kExpected) {
    const DTypeInfo& info = dtype_info(expected.dtype);
    EXPECT_STREQ(info.name, expected.name);
    EXPECT_EQ(info.block_len, expected.block_len) << info.name;
    EXPECT_EQ(info.block_bytes, expected.block_bytes) << info.name;
    EXPECT_EQ(row_bytes(expected.dtype, 512), 512u / info.block_len * info.block_bytes);
  }
}

TEST(DTypeTest, ANumberIsSupportedOrKnownByNameOrNeither) {
  std::set<std::string> names;
  int num_supported = 0, num_named = 0;
  for (int32_t number = -5; number < 100; ++number) {
    const DTypeInfo* info = find_dtype(number);
    const char* name = unsupported_dtype_name(number);
    EXPECT_FALSE(info && name) << number;
    EXPECT_TRUE(!info || names.insert(info->name).second) << number;
    EXPECT_TRUE(!name || names.insert(name).second) << number;
    num_supported += info != nullptr;
    num_named += name != nullptr;
  }
  EXPECT_EQ(num_supported, 13);
  EXPECT_GE(num_named, 19);
  EXPECT_STREQ(unsupported_dtype_name(20), "IQ4_NL");
  EXPECT_EQ(unsupported_dtype_name(4), nullptr);  // removed from ggml long ago
}

TEST(DTypeTest, RowsOfLargeModelsDoNotOverflow) {
  EXPECT_EQ(row_bytes(DType::F32, int64_t{1} << 40), uint64_t{1} << 42);
  EXPECT_ERROR(row_bytes(DType::Q4_K, 128), INTERNAL, "block_len");
  EXPECT_ERROR(row_bytes(DType::F32, -1), INTERNAL, "cols");
}

}  // namespace
}  // namespace kvi
