#include "tokenizer/byte_bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tokenizer_specs.h"

namespace kvi {
namespace {

using Texts = std::vector<std::string>;

Texts encode(const Tokenizer& tokenizer, std::string_view text) {
  return texts_of(tokenizer, tokenizer.encode(text));
}

TEST(ByteBpeTest, TheBestMergeGoesFirstWhereverItIs) {
  const auto tokenizer = Tokenizer::create(
      byte_spec({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"c", "d"}}));
  EXPECT_EQ(encode(*tokenizer, "abcd"), (Texts{"abc", "d"}));
  EXPECT_EQ(encode(*tokenizer, "abd"), (Texts{"ab", "d"}));
}

TEST(ByteBpeTest, OfEqualPairsTheLeftmostMergesFirst) {
  const auto tokenizer = Tokenizer::create(byte_spec({{"a", "a"}}));
  EXPECT_EQ(encode(*tokenizer, "aaaaa"), (Texts{"aa", "aa", "a"}));
}

TEST(ByteBpeTest, MergesStayWithinWords) {
  const auto tokenizer = Tokenizer::create(byte_spec({{"a", " "}, {" ", "b"}}));
  EXPECT_EQ(encode(*tokenizer, "a b"), (Texts{"a", " b"}));
}

TEST(ByteBpeTest, EveryByteOfUtf8HasAToken) {
  const auto tokenizer = Tokenizer::create(byte_spec());
  EXPECT_EQ(tokenizer->encode("\u00e9\n"), (std::vector<TokenId>{0xc3, 0xa9, '\n'}));
}

TEST(ByteBpeTest, WordsThatAreTokensNeedNoMergesWhenTheyAreIgnored) {
  TokenizerSpec spec = byte_spec({{"a", "b"}});
  add_token(spec, "abc", TokenKind::normal);
  EXPECT_EQ(encode(*Tokenizer::create(spec), "abc abc"), (Texts{"ab", "c", " ", "ab", "c"}));
  spec.ignore_merges = true;
  EXPECT_EQ(encode(*Tokenizer::create(spec), "abc abc"), (Texts{"abc", " ", "ab", "c"}));
}

TEST(ByteBpeTest, BytesWithoutATokenAreDropped) {
  TokenizerSpec spec = byte_spec({{"a", "b"}});
  spec.tokens['-'] = "gone";
  EXPECT_EQ(encode(*Tokenizer::create(spec), "--x"), (Texts{"x"}));
}

TEST(ByteBpeTest, NoTextBecomesAControlTokenThroughMerges) {
  TokenizerSpec spec = byte_spec({{"a", "b"}});
  spec.kinds.back() = TokenKind::control;
  EXPECT_EQ(encode(*Tokenizer::create(spec), "ab"), (Texts{"a", "b"}));
}

// Merges one pair at a time, best first, scanning the whole word each time.
Texts merge_slowly(std::string_view word,
                   const std::map<std::pair<std::string, std::string>, int>& ranks) {
  Texts symbols;
  for (char c : word) symbols.emplace_back(1, c);
  while (true) {
    int best_rank = -1;
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto merge = ranks.find({symbols[i], symbols[i + 1]});
      if (merge != ranks.end() && (best_rank < 0 || merge->second < best_rank)) {
        best_rank = merge->second;
        best = i;
      }
    }
    if (best_rank < 0) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(ByteBpeTest, MergesAsTheSlowDefinitionDoes) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 60; ++round) {
    Texts pieces = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    std::map<std::pair<std::string, std::string>, int> ranks;
    while (merges.size() < 30) {
      const std::string left = pieces[random() % pieces.size()];
      const std::string right = pieces[random() % pieces.size()];
      if (!ranks.emplace(std::pair(left, right), static_cast<int>(merges.size())).second) continue;
      merges.emplace_back(left, right);
      if (std::find(pieces.begin(), pieces.end(), left + right) == pieces.end()) {
        pieces.push_back(left + right);
      }
    }
    const auto tokenizer = Tokenizer::create(byte_spec(merges));
    for (int i = 0; i < 50; ++i) {
      std::string word(1 + random() % 60, 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % 3);
      ASSERT_EQ(encode(*tokenizer, word), merge_slowly(word, ranks)) << word;
    }
  }
}

// The cache of words must not show: a long text is encoded as its words are one by one.
TEST(ByteBpeTest, LongTextsAreEncodedAsTheirWords) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  const auto tokenizer = Tokenizer::create(byte_spec({{"a", "b"}, {" ", "a"}, {" a", "b"}}));
  std::string text;
  std::vector<TokenId> expected;
  for (int i = 0; i < 20000; ++i) {
    std::string word = " ";
    for (size_t n = 1 + random() % 5; n > 0; --n) word += static_cast<char>('a' + random() % 3);
    text += word;
    for (TokenId id : tokenizer->encode(word)) expected.push_back(id);
  }
  EXPECT_EQ(tokenizer->encode(text), expected);
}

// Quadratic work would take hours.
TEST(ByteBpeTest, AMegabyteWithoutAnyBreakIsOneWord) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (size_t n = 1; n <= 16; n *= 2) merges.emplace_back(std::string(n, 'a'), std::string(n, 'a'));
  const auto tokenizer = Tokenizer::create(byte_spec(merges));
  EXPECT_EQ(tokenizer->encode(std::string(1 << 20, 'a')).size(), size_t{1} << 15);
}

TEST(ByteBpeTest, MergesOutsideTheVocabularyAreNamed) {
  TokenizerSpec spec = byte_spec({{"a", "b"}});
  const auto with_merge = [&](const char* merge) {
    TokenizerSpec other = spec;
    other.merges.push_back(merge);
    return other;
  };
  EXPECT_ERROR(Tokenizer::create(with_merge("a zz")), CORRUPT, "merge 1");
  EXPECT_ERROR(Tokenizer::create(with_merge("a c")), CORRUPT, "merge 1");
  EXPECT_ERROR(Tokenizer::create(with_merge("ab")), CORRUPT, "'ab'");
  EXPECT_ERROR(Tokenizer::create(with_merge("a ")), CORRUPT, "merge 1");
  EXPECT_ERROR(Tokenizer::create(with_merge("")), CORRUPT, "merge 1");
}

}  // namespace
}  // namespace kvi
