#include "tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "base/utf8.h"
#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tokenizer_samples.h"
#include "tokenizer/nfc.h"
#include "tokenizer/regex_split.h"
#include "tokenizer/unicode_classes.h"

namespace kvi {
namespace {

using Words = std::vector<std::string>;

Words split(const Pretokenizer& pretokenizer, std::string_view text) {
  std::vector<uint32_t> ends;
  pretokenizer.split(text, ends);
  Words words;
  uint32_t begin = 0;
  for (uint32_t end : ends) {
    EXPECT_GT(end, begin);
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return words;
}

std::unique_ptr<const Pretokenizer> scanner(const char* name) {
  TokenizerSpec spec;
  spec.pretokenizer = name;
  return Pretokenizer::create(spec);
}

std::unique_ptr<const Pretokenizer> regex(const std::vector<std::string>& patterns) {
  return create_regex_pretokenizer(patterns);
}

Words split_by(const char* name, std::string_view text) { return split(*scanner(name), text); }

TEST(PretokenizerTest, Gpt2KeepsOneSpaceWithTheWord) {
  EXPECT_EQ(split_by("gpt2", "Hi  there's 12.5!"),
            (Words{"Hi", " ", " there", "'s", " 12", ".", "5", "!"}));
  EXPECT_EQ(split_by("gpt2", "a \t\n b  "), (Words{"a", " \t\n", " b", "  "}));
  EXPECT_EQ(split_by("gpt2", "IT'S"), (Words{"IT", "'", "S"}));
  EXPECT_EQ(split_by("gpt2", ""), (Words{}));
}

TEST(PretokenizerTest, Llama3TakesThreeDigitsAndNewlinesWithPunctuation) {
  EXPECT_EQ(split_by("llama3", "IT'S 12345;\n\n x"),
            (Words{"IT", "'S", " ", "123", "45", ";\n\n", " x"}));
  EXPECT_EQ(split_by("llama3", "a \n \n  b"), (Words{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(split_by("llama3", "a'\u017fb"), (Words{"a", "'\u017f", "b"}));
  EXPECT_EQ(split_by("llama3", "(x\ty)"), (Words{"(x", "\ty", ")"}));
}

TEST(PretokenizerTest, Qwen2AndSmollmTakeSingleDigits) {
  EXPECT_EQ(split_by("qwen2", "a 12"), (Words{"a", " ", "1", "2"}));
  EXPECT_EQ(split_by("smollm", "a  12  b"), (Words{"a", "  ", "1", "2", " ", " b"}));
}

// PCRE2 may know another Unicode version, and counts U+180E as whitespace.
bool classed_alike(char32_t c, const Pretokenizer& letters, const Pretokenizer& numbers,
                   const Pretokenizer& spaces) {
  std::string pair;
  append_utf8(pair, c);
  append_utf8(pair, c);
  const auto matches = [&](const Pretokenizer& pattern) {
    std::vector<uint32_t> ends;
    pattern.split(pair, ends);
    return ends.size() == 2;
  };
  const CharClass cls = class_of(c);
  return matches(letters) == (cls == CharClass::letter) &&
         matches(numbers) == (cls == CharClass::number) &&
         matches(spaces) == (cls == CharClass::space);
}

TEST(PretokenizerTest, ClassesAgreeWithPcreOnEveryAssignedCharacter) {
  const auto letters = regex({R"(\p{L})"}), numbers = regex({R"(\p{N})"});
  const auto spaces = regex({R"(\s)"}), unassigned = regex({R"(\p{Cn})"});
  int num_newer = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if ((c >= 0xd800 && c < 0xe000) || c == 0x180e) continue;
    if (classed_alike(c, *letters, *numbers, *spaces)) continue;
    std::string pair;
    append_utf8(pair, c);
    append_utf8(pair, c);
    ASSERT_EQ(split(*unassigned, pair).size(), 2u) << std::hex << static_cast<uint32_t>(c);
    ++num_newer;
  }
  EXPECT_LT(num_newer, 20000);
}

// The regexes that the models publish, run by PCRE2, are the oracle of the scanners.
TEST(PretokenizerTest, ScannersSplitAsTheirRegexes) {
  const struct {
    const char* name;
    std::vector<std::string> patterns;
  } kCases[] = {{"gpt2", {std::string(kGpt2Pattern)}},
                {"llama3", {std::string(kLlama3Pattern)}},
                {"qwen2", {std::string(kQwen2Pattern)}},
                {"smollm", {std::string(kDigitPattern), std::string(kGpt2Pattern)}}};
  const uint64_t seed = test_seed();
  const auto letters = regex({R"(\p{L})"}), numbers = regex({R"(\p{N})"}),
             spaces = regex({R"(\s)"});
  for (const auto& [name, patterns] : kCases) {
    EXPECT_EQ(find_pretokenizer(patterns), name);
    const auto scanning = scanner(name), matching = regex(patterns);
    for (uint64_t i = 0; i < 3000; ++i) {
      const std::string random = random_text(seed + i);
      std::string text;
      for (size_t pos = 0; pos < random.size();) {
        const CodePoint c = decode_utf8(random, pos);
        if (classed_alike(c.value, *letters, *numbers, *spaces)) append_utf8(text, c.value);
        pos += c.size;
      }
      ASSERT_EQ(split(*scanning, text), split(*matching, text))
          << name << " on " << quoted(text, 400);
    }
  }
}

TEST(PretokenizerTest, UnknownNamesAreRefusedByName) {
  TokenizerSpec spec;
  EXPECT_ERROR(set_gguf_pretokenizer("tekken", spec), UNSUPPORTED, "'tekken'");
  spec.pretokenizer = "nonsense";
  EXPECT_ERROR(Pretokenizer::create(spec), UNSUPPORTED, "'nonsense'");
}

TEST(PretokenizerTest, GgufNamesStandForTheirModelsRules) {
  const struct {
    const char* gguf;
    const char* name;
    bool nfc, ignore_merges;
  } kNames[] = {{"gpt-2", "gpt2", false, false},
                {"default", "gpt2", false, false},
                {"llama-bpe", "llama3", false, true},
                {"qwen2", "qwen2", true, false},
                {"smollm", "smollm", false, false}};
  for (const auto& expected : kNames) {
    TokenizerSpec spec;
    set_gguf_pretokenizer(expected.gguf, spec);
    EXPECT_EQ(spec.pretokenizer, expected.name);
    EXPECT_EQ(spec.normalize_nfc, expected.nfc) << expected.gguf;
    EXPECT_EQ(spec.ignore_merges, expected.ignore_merges) << expected.gguf;
  }
}

TEST(PretokenizerTest, HostileRegexesEndWithAnError) {
  EXPECT_ERROR(regex({"(a"}), UNSUPPORTED, "'(a'");
  const auto exponential = regex({"(a|a|aa)+$"});
  std::vector<uint32_t> ends;
  EXPECT_ERROR(exponential->split(std::string(200, 'a') + "b", ends), UNSUPPORTED, "regex failed");
}

TEST(NfcTest, ComposesAsUnicodeSays) {
  EXPECT_EQ(normalize_nfc("abc\u00e9"), "abc\u00e9");
  EXPECT_EQ(normalize_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(normalize_nfc("\u1100\u1161\u11a8"), "\uac01");   // Hangul
  EXPECT_EQ(normalize_nfc("a\u0315\u0300"), "\u00e0\u0315");  // reordered
  EXPECT_EQ(normalize_nfc("\u212b"), "\u00c5");               // a singleton
  EXPECT_EQ(normalize_nfc("\u0958"), "\u0915\u093c");         // never composed
  EXPECT_EQ(normalize_nfc("\u0344"), "\u0308\u0301");         // marks without a base
  EXPECT_EQ(normalize_nfc("e\u0327\u0301"), "\u0229\u0301");  // the first mark wins
}

}  // namespace
}  // namespace kvi
