#include "base/sha256.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/os_cpu.h"
#include "support/seed.h"

namespace kvi {
namespace {

std::string sha256_hex(const std::string& text, size_t piece,
                       Sha256Code code = Sha256Code::fastest) {
  Sha256 sha(code);
  for (size_t i = 0; i < text.size(); i += piece) {
    sha.update(std::as_bytes(std::span(text).subspan(i, std::min(piece, text.size() - i))));
  }
  return to_hex(sha.finish());
}

TEST(Sha256Test, MatchesThePublishedVectors) {  // FIPS 180-4 examples
  for (Sha256Code code : {Sha256Code::fastest, Sha256Code::plain}) {
    EXPECT_EQ(sha256_hex("", 1, code),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_hex("abc", 3, code),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, code),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256_hex(std::string(1000000, 'a'), 1000, code),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST(Sha256Test, DoesNotDependOnHowTheInputIsCut) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (size_t piece : {1, 3, 55, 56, 63, 64, 65, 300}) {
    EXPECT_EQ(sha256_hex(text, piece), sha256_hex(text, 300)) << piece;
  }
}

TEST(Sha256Test, AllCodesGiveTheSameDigest) {
  if (!cpu_has_sha()) GTEST_SKIP() << "this CPU has no SHA extensions: there is plain code only";
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 600, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const size_t piece = 1 + random() % 200;
    ASSERT_EQ(sha256_hex(text, piece), sha256_hex(text, piece, Sha256Code::plain))
        << text.size() << " bytes in pieces of " << piece;
  }
}

}  // namespace
}  // namespace kvi
