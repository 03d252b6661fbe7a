#include "tensor/quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <vector>

#include "support/expect_error.h"

namespace kvi {
namespace {

enum class Direction : int32_t { decode = 0, encode = 1 };

struct Golden {
  DType dtype;
  Direction direction;
  std::vector<float> values;
  std::vector<std::byte> bytes;
};

// The records that tests/generate/quant_goldens.py wrote.
std::vector<Golden> load_goldens() {
  std::ifstream in(KVINFER_TEST_DATA "/goldens/quant.bin", std::ios::binary);
  std::vector<Golden> goldens;
  struct {
    int32_t type, direction;
    int64_t num_values, num_bytes;
  } head;
  while (in.read(reinterpret_cast<char*>(&head), sizeof head)) {
    Golden golden{static_cast<DType>(head.type), static_cast<Direction>(head.direction), {}, {}};
    golden.values.resize(static_cast<size_t>(head.num_values));
    golden.bytes.resize(static_cast<size_t>(head.num_bytes));
    in.read(reinterpret_cast<char*>(golden.values.data()), head.num_values * 4);
    in.read(reinterpret_cast<char*>(golden.bytes.data()), head.num_bytes);
    EXPECT_TRUE(in.good());
    goldens.push_back(std::move(golden));
  }
  return goldens;
}

constexpr DType kAll[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q8_0, DType::Q4_0,
                          DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q2_K, DType::Q3_K,
                          DType::Q4_K, DType::Q5_K, DType::Q6_K};
constexpr DType kEncodable[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q8_0,
                                DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1};

TEST(QuantTest, DecodingIsBitwiseThatOfTheGgufPackage) {
  std::set<DType> seen;
  for (const Golden& golden : load_goldens()) {
    if (golden.direction != Direction::decode) continue;
    seen.insert(golden.dtype);
    const int64_t n = static_cast<int64_t>(golden.values.size());
    ASSERT_EQ(golden.bytes.size(), row_bytes(golden.dtype, n));
    std::vector<float> decoded(golden.values.size(), NAN);
    dequantize_row(golden.dtype, golden.bytes.data(), decoded.data(), n);
    for (size_t i = 0; i < decoded.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(decoded[i]), std::bit_cast<uint32_t>(golden.values[i]))
          << dtype_name(golden.dtype) << " value " << i << ": " << decoded[i] << " for "
          << golden.values[i];
    }
  }
  EXPECT_EQ(seen.size(), 12u);  // every type but F32
}

TEST(QuantTest, EncodingIsBytewiseThatOfTheGgufPackage) {
  std::set<DType> seen;
  for (const Golden& golden : load_goldens()) {
    if (golden.direction != Direction::encode) continue;
    seen.insert(golden.dtype);
    std::vector<std::byte> encoded(golden.bytes.size(), std::byte{0xaa});
    quantize_row(golden.dtype, golden.values.data(), encoded.data(),
                 static_cast<int64_t>(golden.values.size()));
    const size_t block = static_cast<size_t>(dtype_info(golden.dtype).block_bytes);
    for (size_t i = 0; i < encoded.size(); ++i) {
      ASSERT_EQ(encoded[i], golden.bytes[i])
          << dtype_name(golden.dtype) << " block " << i / block << " byte " << i % block;
    }
  }
  EXPECT_EQ(seen.size(), 7u);
}

// Half a step of values in [-3, 3], or a whole one where the far end has no level of its own.
TEST(QuantTest, EncodingErrsByHalfAStep) {
  const std::pair<DType, float> kBounds[] = {
      {DType::F32, 0.0f},        {DType::F16, 0x1p-10f},      {DType::BF16, 0x1p-7f},
      {DType::Q8_0, 3.0f / 253}, {DType::Q4_0, 3.0f / 8},     {DType::Q4_1, 6.0f / 29.5f},
      {DType::Q5_0, 3.0f / 16},  {DType::Q5_1, 6.0f / 61.5f},
  };
  std::vector<float> values(64), decoded(64);
  for (int i = 0; i < 64; ++i) values[i] = std::sin(static_cast<float>(i * i)) * 3;
  for (auto [dtype, bound] : kBounds) {
    std::vector<std::byte> bytes(row_bytes(dtype, 64));
    quantize_row(dtype, values.data(), bytes.data(), 64);
    dequantize_row(dtype, bytes.data(), decoded.data(), 64);
    float worst = 0;
    for (int i = 0; i < 64; ++i) worst = std::max(worst, std::fabs(decoded[i] - values[i]));
    EXPECT_LE(worst, bound) << dtype_name(dtype);
  }
}

TEST(QuantTest, BlocksMayLieAtAnyAddress) {
  for (DType dtype : kAll) {
    const int64_t n = 256;
    std::vector<std::byte> bytes(row_bytes(dtype, n) + 1, std::byte{0x21});
    std::vector<float> aligned(n), shifted(n);
    dequantize_row(dtype, bytes.data(), aligned.data(), n);
    dequantize_row(dtype, bytes.data() + 1, shifted.data(), n);
    EXPECT_EQ(aligned, shifted) << dtype_name(dtype);
  }
}

TEST(QuantTest, ValuesThatAreNotFiniteStillGiveABlock) {
  const float inf = std::numeric_limits<float>::infinity();
  for (DType dtype : kEncodable) {
    for (float odd : {NAN, inf, -inf, 3.4e38f, 1e-45f}) {
      std::vector<float> values(32, odd);
      values[7] = 1;
      std::vector<std::byte> bytes(row_bytes(dtype, 32));
      quantize_row(dtype, values.data(), bytes.data(), 32);  // the sanitizers watch the conversions
      std::vector<float> decoded(32, 0.5f);
      dequantize_row(dtype, bytes.data(), decoded.data(), 32);
      EXPECT_NE(decoded[0], 0.5f);
    }
  }
}

TEST(QuantTest, EncodingToAKTypeIsUnsupported) {
  std::vector<float> values(256);
  std::vector<std::byte> bytes(row_bytes(DType::Q4_K, 256));
  EXPECT_ERROR(quantize_row(DType::Q4_K, values.data(), bytes.data(), 256), UNSUPPORTED, "Q4_K");
}

TEST(QuantTest, APartOfABlockIsABug) {
  std::vector<float> values(40);
  std::vector<std::byte> bytes(64);
  EXPECT_ERROR(dequantize_row(DType::Q8_0, bytes.data(), values.data(), 31), INTERNAL, "block_len");
}

}  // namespace
}  // namespace kvi
