#include "base/utf8.h"

#include <gtest/gtest.h>

namespace kvi {
namespace {

TEST(Utf8Test, EveryScalarValueRoundTrips) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    append_utf8(text, c);
    CodePoint decoded = decode_utf8(text, 0);
    ASSERT_TRUE(decoded.valid);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.size, static_cast<int>(text.size()));
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_TRUE(is_utf8_start(std::string_view(text).substr(0, cut)));
      ASSERT_FALSE(is_utf8(std::string_view(text).substr(0, cut)));
    }
  }
}

TEST(Utf8Test, IllFormedTextIsRefusedWhereItStarts) {
  EXPECT_EQ(valid_utf8_prefix("ab\xff"), 2u);
  EXPECT_EQ(valid_utf8_prefix("\xc0\x80"), 0u);          // overlong
  EXPECT_EQ(valid_utf8_prefix("\xed\xa0\x80"), 0u);      // surrogate
  EXPECT_EQ(valid_utf8_prefix("\xf4\x90\x80\x80"), 0u);  // past U+10FFFF
  EXPECT_EQ(decode_utf8("\xf0\x9f\x98z", 0).size, 3);    // a maximal subpart is skipped whole
  EXPECT_FALSE(is_utf8_start("\x80"));
  EXPECT_FALSE(is_utf8_start("a"));
}

}  // namespace
}  // namespace kvi
