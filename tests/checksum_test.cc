#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace kvi {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(ChecksumTest, IsXxh3AndDoesNotDependOnHowTheInputIsCut) {
  // The published values of XXH3_128bits of no bytes, with seeds 0 and 0x9e3779b185ebca8d.
  EXPECT_EQ(RunningChecksum().value(), (Checksum{0x6001c324468d497f, 0x99aa06d3014798d8}));
  EXPECT_EQ(RunningChecksum(0x9e3779b185ebca8d).value(),
            (Checksum{0xa986dfc5d7605bfe, 0x00feaa732a3ce25e}));
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * i);
  RunningChecksum whole(7);
  whole.update(bytes_of(text));
  EXPECT_EQ(checksum(bytes_of(text), 7), whole.value());
  for (size_t piece : {1, 7, 64, 240, 241, 1024}) {
    RunningChecksum cut(7);
    for (size_t i = 0; i < text.size(); i += piece) {
      cut.update(bytes_of(std::string_view(text).substr(i, piece)));
    }
    EXPECT_EQ(cut.value(), whole.value()) << piece;
  }
}

}  // namespace
}  // namespace kvi
