#include "tensor/dtype.h"

#include "base/error.h"

namespace kvi {
namespace {

constexpr DTypeInfo kTypes[] = {
    {DType::F32, "F32", 1, 4},       {DType::F16, "F16", 1, 2},
    {DType::BF16, "BF16", 1, 2},     {DType::Q4_0, "Q4_0", 32, 18},
    {DType::Q4_1, "Q4_1", 32, 20},   {DType::Q5_0, "Q5_0", 32, 22},
    {DType::Q5_1, "Q5_1", 32, 24},   {DType::Q8_0, "Q8_0", 32, 34},
    {DType::Q2_K, "Q2_K", 256, 84},  {DType::Q3_K, "Q3_K", 256, 110},
    {DType::Q4_K, "Q4_K", 256, 144}, {DType::Q5_K, "Q5_K", 256, 176},
    {DType::Q6_K, "Q6_K", 256, 210},
};

struct KnownName {
  int32_t number;
  const char* name;
};

constexpr KnownName kUnsupported[] = {
    {9, "Q8_1"},    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"},
    {39, "MXFP4"},  {40, "NVFP4"}, {41, "Q1_0"},
};

}  // namespace

const DTypeInfo* find_dtype(int32_t number) {
  for (const DTypeInfo& info : kTypes) {
    if (static_cast<int32_t>(info.dtype) == number) return &info;
  }
  return nullptr;
}

const DTypeInfo& dtype_info(DType dtype) {
  const DTypeInfo* info = find_dtype(static_cast<int32_t>(dtype));
  KVI_CHECK(info != nullptr);
  return *info;
}

const char* unsupported_dtype_name(int32_t number) {
  for (const KnownName& known : kUnsupported) {
    if (known.number == number) return known.name;
  }
  return nullptr;
}

uint64_t row_bytes(DType dtype, int64_t cols) {
  const DTypeInfo& info = dtype_info(dtype);
  KVI_CHECK(cols >= 0 && cols % info.block_len == 0);
  return static_cast<uint64_t>(cols / info.block_len) * static_cast<uint64_t>(info.block_bytes);
}

}  // namespace kvi
