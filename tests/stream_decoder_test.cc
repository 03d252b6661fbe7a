#include "tokenizer/stream_decoder.h"

#include <gtest/gtest.h>

#include "support/seed.h"
#include "support/tokenizer_specs.h"

namespace kvi {
namespace {

class StreamDecoderTest : public testing::Test {
 protected:
  static TokenizerSpec spec() {
    TokenizerSpec spec = byte_spec({{"\xf0", "\x9f"}});
    add_token(spec, "<end>", TokenKind::control);
    return spec;
  }
  static constexpr TokenId kHalfEmoji = 256, kEnd = 257;

  std::unique_ptr<Tokenizer> tokenizer_ = Tokenizer::create(spec());
};

TEST_F(StreamDecoderTest, TextComesOnceItsCodePointIsWhole) {
  StreamDecoder decoder(*tokenizer_);
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(kHalfEmoji), "");
  EXPECT_EQ(decoder.push(0x98), "");
  EXPECT_EQ(decoder.push(0x80), "\U0001f600");
  EXPECT_EQ(decoder.finish(), "");
}

TEST_F(StreamDecoderTest, BytesThatCannotBecomeACodePointAreReplaced) {
  StreamDecoder decoder(*tokenizer_);
  EXPECT_EQ(decoder.push(0xff), "\ufffd");
  EXPECT_EQ(decoder.push(kHalfEmoji), "");
  EXPECT_EQ(decoder.push('b'),
            "\ufffd"
            "b");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
  EXPECT_EQ(decoder.finish(), "");
}

TEST_F(StreamDecoderTest, ControlTokensShowOnlyWhenAsked) {
  StreamDecoder hiding(*tokenizer_), showing(*tokenizer_, true);
  EXPECT_EQ(hiding.push(kEnd), "");
  EXPECT_EQ(showing.push(kEnd), "<end>");
}

TEST_F(StreamDecoderTest, TheSpacePrefixIsTakenOffFreshTextOnly) {
  TokenizerSpec spec = piece_spec({"\u2581", "\u2581a", "a"});
  spec.add_space_prefix = true;
  const auto tokenizer = Tokenizer::create(spec);
  const TokenId spaced = *tokenizer->find_token("\u2581a");

  StreamDecoder fresh(*tokenizer);
  EXPECT_EQ(fresh.push(*spec.bos), "");
  EXPECT_EQ(fresh.push(spaced), "a");
  EXPECT_EQ(fresh.push(spaced), " a");
  StreamDecoder continued(*tokenizer, false, TextStart::continued);
  EXPECT_EQ(continued.push(spaced), " a");
}

TEST_F(StreamDecoderTest, AnyTokensGiveWellFormedTextAndTheSameAsDecode) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 500; ++round) {
    StreamDecoder decoder(*tokenizer_);
    std::vector<TokenId> tokens;
    std::string text;
    for (int i = 0; i < 40; ++i) {
      tokens.push_back(static_cast<TokenId>(random() % 258));
      const std::string piece = decoder.push(tokens.back());
      ASSERT_TRUE(is_utf8(piece));
      text += piece;
    }
    text += decoder.finish();
    ASSERT_EQ(text, tokenizer_->decode(tokens));
  }
}

}  // namespace
}  // namespace kvi
