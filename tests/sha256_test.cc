#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace kvi {
namespace {

std::string sha256_hex(const std::string& text, size_t piece) {
  Sha256 sha;
  for (size_t i = 0; i < text.size(); i += piece) {
    sha.update(std::as_bytes(std::span(text).subspan(i, std::min(piece, text.size() - i))));
  }
  return to_hex(sha.finish());
}

TEST(Sha256Test, MatchesThePublishedVectors) {  // FIPS 180-4 examples
  EXPECT_EQ(sha256_hex("", 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc", 3),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a'), 1000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, DoesNotDependOnHowTheInputIsCut) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (size_t piece : {1, 3, 55, 56, 63, 64, 65, 300}) {
    EXPECT_EQ(sha256_hex(text, piece), sha256_hex(text, 300)) << piece;
  }
}

}  // namespace
}  // namespace kvi
