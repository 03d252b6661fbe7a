#include "tokenizer/sentencepiece.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tokenizer_specs.h"

namespace kvi {
namespace {

using Texts = std::vector<std::string>;

Texts encode(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
  return texts_of(tokenizer, tokenizer.encode(text, options));
}

const std::vector<std::string> kPieces = {"he", "ll", "hell", "o\u2581", "\u2581", "\u2581h",
                                          "h",  "e",  "l",    "o",       "w"};

TEST(SentencePieceTest, ThePieceOfTheHighestScoreIsMadeFirst) {
  const auto tokenizer = Tokenizer::create(piece_spec({"bc", "ab", "abc", "a", "b", "c"}));
  EXPECT_EQ(encode(*tokenizer, "abc"), (Texts{"abc"}));
  EXPECT_EQ(encode(*tokenizer, "abab"), (Texts{"ab", "ab"}));
  const auto other = Tokenizer::create(piece_spec({"bc", "ab", "a", "b", "c"}));
  EXPECT_EQ(encode(*other, "abc"), (Texts{"a", "bc"}));
}

TEST(SentencePieceTest, SpacesAreMarksInTheVocabulary) {
  const auto tokenizer = Tokenizer::create(piece_spec(kPieces));
  EXPECT_EQ(encode(*tokenizer, "hello he"), (Texts{"hell", "o ", "he"}));
  EXPECT_EQ(encode(*tokenizer, "hello\u2581he"), (Texts{"hell", "o ", "he"}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hello he")), "hello he");
}

TEST(SentencePieceTest, CharactersWithoutAPieceBecomeBytes) {
  const auto tokenizer = Tokenizer::create(piece_spec(kPieces));
  EXPECT_EQ(tokenizer->encode("\u00e9w"),
            (std::vector<TokenId>{3 + 0xc3, 3 + 0xa9, *tokenizer->find_token("w")}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("\u00e9\u4e00w")), "\u00e9\u4e00w");
}

TEST(SentencePieceTest, TextThatLooksLikeAByteTokenIsText) {
  const auto tokenizer = Tokenizer::create(
      piece_spec({"<", "0", "x", "4", "1", ">", "<0x4", "1>"}));
  for (TokenId id : tokenizer->encode("<0x41>")) {
    EXPECT_NE(tokenizer->spec().kinds[id], TokenKind::byte);
  }
}

TEST(SentencePieceTest, WithoutBytesARunOfUnknownCharactersIsOneUnknownToken) {
  TokenizerSpec spec = piece_spec({"a"});
  for (TokenKind& kind : spec.kinds) {
    if (kind == TokenKind::byte) kind = TokenKind::unused;
  }
  const auto tokenizer = Tokenizer::create(spec);
  const TokenId a = *tokenizer->find_token("a");
  EXPECT_EQ(tokenizer->encode("ab\u00e9a"), (std::vector<TokenId>{a, 0, a}));
  spec.unknown.reset();
  EXPECT_ERROR(Tokenizer::create(spec), CORRUPT, "neither all 256 byte tokens");
}

TEST(SentencePieceTest, UserDefinedPiecesAreTakenWholeAndLongestFirst) {
  TokenizerSpec spec = piece_spec({"a", " a", "\u2581", "\n"});
  add_token(spec, "  ", TokenKind::user_defined, -1000);
  add_token(spec, "\u2581\u2581\u2581", TokenKind::user_defined, -1000);
  add_token(spec, "\n\n", TokenKind::user_defined, -1000);
  const auto tokenizer = Tokenizer::create(spec);
  EXPECT_EQ(encode(*tokenizer, "a  a"), (Texts{"a", "  ", "a"}));
  EXPECT_EQ(encode(*tokenizer, "a     a"), (Texts{"a", "   ", "  ", "a"}));
  EXPECT_EQ(encode(*tokenizer, "\n\n\n"), (Texts{"\n\n", "\n"}));
}

TEST(SentencePieceTest, TheSpacePrefixComesBackOffWhenDecoding) {
  TokenizerSpec spec = piece_spec(kPieces);
  spec.add_space_prefix = true;
  const auto tokenizer = Tokenizer::create(spec);
  EXPECT_EQ(encode(*tokenizer, "he"), (Texts{" ", "he"}));
  EXPECT_EQ(encode(*tokenizer, ""), (Texts{}));
  for (const char* text : {"he", " he", "", " ", "\u00e9"}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  const EncodeOptions continued{.start = TextStart::continued};
  EXPECT_EQ(encode(*tokenizer, "he", continued), (Texts{"he"}));
}

TEST(SentencePieceTest, TheSpacePrefixFollowsControlTokensUnlessMetaspaceSaysFirst) {
  TokenizerSpec spec = piece_spec(kPieces);
  spec.add_space_prefix = true;
  const EncodeOptions special{.parse_special = ParseSpecial::yes};
  EXPECT_EQ(encode(*Tokenizer::create(spec), "he</s>w", special),
            (Texts{" ", "he", "</s>", " ", "w"}));
  spec.prefix_after_control = false;
  EXPECT_EQ(encode(*Tokenizer::create(spec), "he</s>w", special), (Texts{" ", "he", "</s>", "w"}));
  spec.prefix_before_space = false;
  EXPECT_EQ(encode(*Tokenizer::create(spec), " w", special), (Texts{" ", "w"}));
}

TEST(SentencePieceTest, WithMergesTheFirstPairOfTheListGoesFirst) {
  TokenizerSpec spec = piece_spec({"a", "aa", "aaa"});
  EXPECT_EQ(encode(*Tokenizer::create(spec), "aaaa"), (Texts{"aa", "aa"}));
  spec.scores.clear();
  spec.merges = {"a a", "aa a"};
  EXPECT_EQ(encode(*Tokenizer::create(spec), "aaaaa"), (Texts{"aa", "aaa"}));
  spec.merges = {"aa a"};
  EXPECT_EQ(encode(*Tokenizer::create(spec), "aaa"), (Texts{"a", "a", "a"}));
}

// SentencePiece's rule, one merge at a time.
Texts merge_slowly(std::string_view text, const std::vector<std::string>& pieces) {
  Texts symbols;
  for (char c : text) symbols.emplace_back(1, c);
  while (true) {
    size_t best = 0, best_rank = pieces.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto piece = std::find(pieces.begin(), pieces.end(), symbols[i] + symbols[i + 1]);
      const size_t rank = static_cast<size_t>(piece - pieces.begin());
      if (rank < best_rank) {
        best = i;
        best_rank = rank;
      }
    }
    if (best_rank == pieces.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(SentencePieceTest, MergesAsTheSlowDefinitionDoesAcrossSpacesToo) {
  std::mt19937_64 random(test_seed());
  const auto random_text = [&](size_t max_size) {
    std::string text(1 + random() % max_size, 'a');
    for (char& c : text) c = " ab"[random() % 3];
    return text;
  };
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> pieces;
    while (pieces.size() < 25) {
      const std::string piece = random_text(6);
      if (std::find(pieces.begin(), pieces.end(), piece) == pieces.end()) pieces.push_back(piece);
    }
    for (const char* c : {"a", "b", " "}) {
      if (std::find(pieces.begin(), pieces.end(), c) == pieces.end()) pieces.push_back(c);
    }
    const auto tokenizer = Tokenizer::create(piece_spec(pieces));
    for (int i = 0; i < 50; ++i) {
      const std::string text = random_text(60);
      ASSERT_EQ(encode(*tokenizer, text), merge_slowly(text, pieces)) << "'" << text << "'";
    }
  }
}

// Quadratic work would take hours.
TEST(SentencePieceTest, AMegabyteWithoutAnyBreakIsOneChunk) {
  std::vector<std::string> pieces = {"a"};
  for (size_t n = 2; n <= 32; n *= 2) pieces.insert(pieces.begin(), std::string(n, 'a'));
  std::reverse(pieces.begin(), pieces.end());
  const auto tokenizer = Tokenizer::create(piece_spec(pieces));
  EXPECT_EQ(tokenizer->encode(std::string(1 << 20, 'a')).size(), size_t{1} << 15);
}

TEST(SentencePieceTest, FaultyVocabulariesAreRefused) {
  TokenizerSpec spec = piece_spec({"a"});
  spec.tokens[3] = "<0xZZ>";
  EXPECT_ERROR(Tokenizer::create(spec), CORRUPT, "'<0xZZ>'");
  spec = piece_spec({"a"});
  spec.scores.pop_back();
  EXPECT_ERROR(Tokenizer::create(spec), CORRUPT, "scores");
  spec = piece_spec({"a"});
  spec.scores[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_ERROR(Tokenizer::create(spec), CORRUPT, "token 5");
}

}  // namespace
}  // namespace kvi
