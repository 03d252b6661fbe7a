#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tokenizer_specs.h"
#include "tokenizer/token_matcher.h"

namespace kvi {
namespace {

using Texts = std::vector<std::string>;

const EncodeOptions kSpecial{.parse_special = ParseSpecial::yes};

class TokenizerTest : public testing::Test {
 protected:
  TokenizerTest() {
    add_token(spec_, "<bos>", TokenKind::control);
    add_token(spec_, "<|im_end|>", TokenKind::control);
    add_token(spec_, "<|im_end|>>", TokenKind::control);
    add_token(spec_, "<tag>", TokenKind::user_defined);
    spec_.bos = kBos;
    spec_.eos = kEnd;
  }
  Texts encode(std::string_view text, const EncodeOptions& options = {}) const {
    const auto tokenizer = Tokenizer::create(spec_);
    return texts_of(*tokenizer, tokenizer->encode(text, options));
  }
  static constexpr TokenId kBos = 257, kEnd = 258, kLongEnd = 259, kTag = 260;

  TokenizerSpec spec_ = byte_spec({{"a", "b"}});
};

TEST_F(TokenizerTest, ControlTokensAreFoundOnlyWhenAllowed) {
  EXPECT_EQ(encode("ab<bos>ab", kSpecial), (Texts{"ab", "<bos>", "ab"}));
  for (TokenId id : Tokenizer::create(spec_)->encode("ab<bos>ab<|im_end|>")) {
    EXPECT_EQ(spec_.kinds[id], TokenKind::normal);
  }
}

TEST_F(TokenizerTest, UserDefinedTokensAreAlwaysFound) {
  EXPECT_EQ(encode("a<tag>b"), (Texts{"a", "<tag>", "b"}));
}

TEST_F(TokenizerTest, TheLongestTokenWins) {
  EXPECT_EQ(encode("<|im_end|>>", kSpecial), (Texts{"<|im_end|>>"}));
  EXPECT_EQ(encode("<|im_end|>a", kSpecial), (Texts{"<|im_end|>", "a"}));
}

TEST_F(TokenizerTest, AutomaticBosFollowsTheModelAndNeverDoubles) {
  EXPECT_EQ(encode("a"), (Texts{"a"}));
  EXPECT_EQ(encode("a", {.add_bos = AddBos::yes}), (Texts{"<bos>", "a"}));
  spec_.add_bos = true;
  EXPECT_EQ(encode("a"), (Texts{"<bos>", "a"}));
  EXPECT_EQ(encode(""), (Texts{"<bos>"}));
  EXPECT_EQ(encode("<bos>a", kSpecial), (Texts{"<bos>", "a"}));
  EXPECT_EQ(encode("a", {.add_bos = AddBos::no}), (Texts{"a"}));
  EXPECT_EQ(encode("a", {.start = TextStart::continued}), (Texts{"a"}));
}

TEST_F(TokenizerTest, AskingForAMissingBosIsAnError) {
  spec_.bos.reset();
  EXPECT_ERROR(encode("a", {.add_bos = AddBos::yes}), INVALID_ARGUMENT, "no BOS token");
}

TEST_F(TokenizerTest, PartsAreOneTextButOnlyTrustedOnesHoldControlTokens) {
  const auto tokenizer = Tokenizer::create(spec_);
  const auto encode_parts = [&](const std::vector<TextPart>& parts) {
    return texts_of(*tokenizer, tokenizer->encode(parts, {}));
  };
  constexpr ParseSpecial kYes = ParseSpecial::yes, kNo = ParseSpecial::no;
  EXPECT_EQ(encode_parts({{"<bos>a", kYes}, {"b", kNo}}), (Texts{"<bos>", "ab"}));
  EXPECT_EQ(encode_parts({{"<bo", kYes}, {"s>", kYes}}), (Texts{"<bos>"}));
  EXPECT_EQ(encode_parts({{"<bo", kYes}, {"s>", kNo}}), (Texts{"<", "b", "o", "s", ">"}));
  EXPECT_EQ(encode_parts({{"<bo", kNo}, {"s>", kYes}}), (Texts{"<", "b", "o", "s", ">"}));
  EXPECT_EQ(encode_parts({{"", kYes}, {"<bos>", kNo}, {"<bos>", kYes}}),
            (Texts{"<", "b", "o", "s", ">", "<bos>"}));
  EXPECT_EQ(encode_parts({}), (Texts{}));
}

TEST_F(TokenizerTest, IllFormedTextIsRefusedWhereItStarts) {
  EXPECT_ERROR(encode("ab\xff"), INVALID_ARGUMENT, "byte 2");
  const auto tokenizer = Tokenizer::create(spec_);
  const std::vector<TextPart> parts = {{"abc"}, {"d\xc3"}};
  EXPECT_ERROR(tokenizer->encode(parts, {}), INVALID_ARGUMENT, "byte 4");
}

TEST_F(TokenizerTest, RandomBytesAreEncodedOrRefusedAtTheRightByte) {
  std::mt19937_64 random(test_seed());
  const auto tokenizer = Tokenizer::create(spec_);
  int num_encoded = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string text(random() % 5, ' ');
    for (char& c : text) c = static_cast<char>(random());
    const size_t valid = valid_utf8_prefix(text);
    if (valid == text.size()) {
      ++num_encoded;
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    } else {
      EXPECT_ERROR(tokenizer->encode(text), INVALID_ARGUMENT, "byte " + std::to_string(valid));
    }
  }
  EXPECT_GT(num_encoded, 1000);
}

TEST_F(TokenizerTest, TokenBytesHideControlTokensUnlessAsked) {
  const auto tokenizer = Tokenizer::create(spec_);
  EXPECT_EQ(tokenizer->token_bytes(kEnd), "");
  EXPECT_EQ(tokenizer->token_bytes(kEnd, true), "<|im_end|>");
  EXPECT_EQ(tokenizer->token_bytes(kTag), "<tag>");
  EXPECT_EQ(tokenizer->token_bytes(256), "ab");
  EXPECT_ERROR(tokenizer->token_bytes(-1), INVALID_ARGUMENT, "-1");
  EXPECT_ERROR(tokenizer->token_bytes(261), INVALID_ARGUMENT, "261 tokens");
}

TEST_F(TokenizerTest, GenerationEndsAtEosAndAtTokensOfKnownName) {
  spec_.eos = kLongEnd;
  spec_.end_of_generation = {kTag};
  const auto tokenizer = Tokenizer::create(spec_);
  EXPECT_TRUE(tokenizer->is_end_of_generation(kLongEnd));
  EXPECT_TRUE(tokenizer->is_end_of_generation(kTag));
  EXPECT_TRUE(tokenizer->is_end_of_generation(kEnd));
  EXPECT_FALSE(tokenizer->is_end_of_generation(kBos));
  EXPECT_FALSE(tokenizer->is_end_of_generation(-1));
  EXPECT_FALSE(tokenizer->is_end_of_generation(1 << 30));
  EXPECT_EQ(tokenizer->spec().end_of_generation, (std::vector<TokenId>{kEnd, kLongEnd, kTag}));
}

TEST_F(TokenizerTest, SpecsThatContradictThemselvesAreRefused) {
  const auto refused = [&](auto change, Status status, const char* words) {
    TokenizerSpec spec = spec_;
    change(spec);
    EXPECT_TRUE(throws_error([&] { Tokenizer::create(spec); }, status, words));
  };
  refused([](TokenizerSpec& s) { s.tokens.clear(); }, Status::CORRUPT, "no tokens");
  refused([](TokenizerSpec& s) { s.kinds.pop_back(); }, Status::CORRUPT, "260 token types");
  refused([](TokenizerSpec& s) { s.kinds[7] = static_cast<TokenKind>(9); }, Status::CORRUPT,
          "token 7");
  refused([](TokenizerSpec& s) { s.bos = 261; }, Status::CORRUPT, "BOS token is 261");
  refused([](TokenizerSpec& s) { s.eos = -1; }, Status::CORRUPT, "EOS token is -1");
  refused([](TokenizerSpec& s) { s.end_of_generation = {1000}; }, Status::CORRUPT, "1000");
  refused([](TokenizerSpec& s) { s.bos.reset(), s.add_bos = true; }, Status::CORRUPT, "names none");
  refused([](TokenizerSpec& s) { s.tokens[kTag] = std::string(2000, 'x'); }, Status::UNSUPPORTED,
          "2000 bytes");
  refused([](TokenizerSpec& s) { s.pretokenizer = ""; }, Status::UNSUPPORTED, "pretokenizer");
}

TEST(TokenMatcherTest, FindsTheLeftmostLongest) {
  const TokenMatcher matcher({{"ab", 1}, {"abc", 2}, {"bcd", 3}, {"", 4}, {"\xff", 5}});
  const auto found = matcher.find("xabcd", 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->begin, 1u);
  EXPECT_EQ(found->size, 3u);
  EXPECT_EQ(found->token, 2);
  EXPECT_EQ(matcher.find("xabcd", 2)->token, 3);
  EXPECT_EQ(matcher.find("xabd", 0)->token, 1);
  EXPECT_FALSE(matcher.find("xa\xff", 0));
  EXPECT_TRUE(TokenMatcher({}).empty());
}

}  // namespace
}  // namespace kvi
