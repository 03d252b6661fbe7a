#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvi {
namespace {

TEST(HalfTest, EveryF16RoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t h = static_cast<uint16_t>(bits);
    const float value = f16_to_f32(h);
    if ((h & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), h) << value;
    }
  }
}

TEST(HalfTest, F16ValuesAreThoseOfTheFormat) {
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f16_to_f32(0xc000), -2.0f);
  EXPECT_EQ(f16_to_f32(0x7bff), 65504.0f);
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x03ff), 0x1.ff8p-15f);
  EXPECT_TRUE(std::signbit(f16_to_f32(0x8000)));
  EXPECT_TRUE(std::isinf(f16_to_f32(0x7c00)));
}

// Midpoints between neighbours go to the even one, and anything past a midpoint to the nearer one.
TEST(HalfTest, F16RoundsToNearestEven) {
  for (uint16_t h = 0; h < 0x7bff; ++h) {
    const float low = f16_to_f32(h), high = f16_to_f32(static_cast<uint16_t>(h + 1));
    const float middle = low + (high - low) / 2;  // exact: 13 spare bits
    const uint16_t even = h % 2 == 0 ? h : static_cast<uint16_t>(h + 1);
    ASSERT_EQ(f32_to_f16(middle), even) << middle;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), h) << middle;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), h + 1) << middle;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << middle;
  }
}

TEST(HalfTest, F16OverflowsToInfinity) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(0x1p-26f), 0);
}

TEST(HalfTest, EveryBf16RoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t b = static_cast<uint16_t>(bits);
    if ((b & 0x7fff) > 0x7f80) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16_to_f32(b)))));
    } else {
      ASSERT_EQ(f32_to_bf16(bf16_to_f32(b)), b);
    }
  }
}

TEST(HalfTest, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // tie, even below
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // tie, even above
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f7fffffu)), 0x7f80);  // to infinity
}

}  // namespace
}  // namespace kvi
