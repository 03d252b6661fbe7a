#include "tokenizer/hf_tokenizer_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "support/expect_error.h"
#include "support/seed.h"
#include "support/tokenizer_specs.h"
#include "tokenizer/pretokenizer.h"

namespace kvi {
namespace {

using nlohmann::json;

json byte_level_json() {
  json vocab;
  const TokenizerSpec bytes = byte_spec({{"a", "b"}});
  for (size_t id = 0; id < bytes.tokens.size(); ++id) vocab[bytes.tokens[id]] = id;
  return {{"added_tokens",
           {{{"id", 257}, {"content", "<bos>"}, {"special", true}},
            {{"id", 258}, {"content", "<tag>"}, {"special", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {{{"SpecialToken", {{"id", "<bos>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
            {"special_tokens", {{"<bos>", {{"ids", {257}}}}}}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b"}}}}};
}

json piece_json() {
  json vocab;
  const TokenizerSpec pieces = piece_spec({"\u2581", "a", "\u2581a"});
  for (size_t id = 0; id < pieces.tokens.size(); ++id) vocab[pieces.tokens[id]] = id;
  json added = json::array();
  for (int id = 0; id < 3; ++id) {
    added.push_back({{"id", id}, {"content", pieces.tokens[id]}, {"special", true}});
  }
  return {{"added_tokens", added},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
          {"model",
           {{"type", "BPE"},
            {"byte_fallback", true},
            {"unk_token", "<unk>"},
            {"vocab", vocab},
            {"merges", json::array({json::array({"\u2581", "a"})})}}}};
}

TokenizerSpec parse(const json& document, std::string_view config = "") {
  return parse_hf_tokenizer_json(document.dump(), config);
}

json split_part(std::string_view pattern, const char* behavior = "Isolated") {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", behavior},
          {"invert", false}};
}

json sequence_of(const std::vector<json>& parts) {
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

const json kBytesOnly = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};

TEST(HfTokenizerJsonTest, ByteLevelFilesAreRead) {
  const TokenizerSpec spec = parse(byte_level_json());
  EXPECT_EQ(spec.algorithm, TokenizerAlgorithm::byte_bpe);
  EXPECT_EQ(spec.pretokenizer, "gpt2");
  EXPECT_EQ(spec.tokens.size(), 259u);
  EXPECT_EQ(spec.kinds[257], TokenKind::control);
  EXPECT_EQ(spec.kinds[258], TokenKind::user_defined);
  EXPECT_EQ(spec.bos, 257);
  EXPECT_TRUE(spec.add_bos);
  const auto tokenizer = Tokenizer::create(spec);
  EXPECT_EQ(tokenizer->encode("ab<tag>"), (std::vector<TokenId>{257, 256, 258}));
}

TEST(HfTokenizerJsonTest, SentencePieceStyleFilesAreRead) {
  const TokenizerSpec spec = parse(piece_json());
  EXPECT_EQ(spec.algorithm, TokenizerAlgorithm::sentencepiece_bpe);
  EXPECT_TRUE(spec.add_space_prefix);
  EXPECT_EQ(spec.unknown, 0);
  EXPECT_EQ(spec.kinds[3], TokenKind::byte);
  const auto tokenizer = Tokenizer::create(spec);
  EXPECT_EQ(texts_of(*tokenizer, tokenizer->encode("a a\n")),
            (std::vector<std::string>{" a", " a", "\n"}));
}

TEST(HfTokenizerJsonTest, MetaspaceStatesWhereThePrefixGoes) {
  json document = piece_json();
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {{"type", "Metaspace"},
                               {"replacement", "\u2581"},
                               {"prepend_scheme", "first"},
                               {"split", false}};
  TokenizerSpec spec = parse(document);
  EXPECT_TRUE(spec.add_space_prefix);
  EXPECT_FALSE(spec.prefix_after_control);
  EXPECT_FALSE(spec.prefix_before_space);
  document["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_FALSE(parse(document).add_space_prefix);
  document["pre_tokenizer"]["prepend_scheme"] = "sometimes";
  EXPECT_ERROR(parse(document), CORRUPT, "'sometimes'");
}

TEST(HfTokenizerJsonTest, KnownRegexesAreRecognised) {
  const struct {
    std::vector<json> parts;
    const char* name;
  } kCases[] = {
      {{split_part(kLlama3Pattern), kBytesOnly}, "llama3"},
      {{split_part(kQwen2Pattern), kBytesOnly}, "qwen2"},
      {{split_part(kGpt2Pattern), kBytesOnly}, "gpt2"},
      {{{{"type", "Digits"}, {"individual_digits", true}}, {{"type", "ByteLevel"}}}, "smollm"},
  };
  json document = byte_level_json();
  for (const auto& [parts, name] : kCases) {
    document["pre_tokenizer"] = sequence_of(parts);
    const TokenizerSpec spec = parse(document);
    EXPECT_EQ(spec.pretokenizer, name);
    EXPECT_TRUE(spec.split_patterns.empty());
  }
}

TEST(HfTokenizerJsonTest, OtherRegexesRunAsTheyAre) {
  json document = byte_level_json();
  document["pre_tokenizer"] = sequence_of({split_part("a"), kBytesOnly});
  const TokenizerSpec spec = parse(document);
  EXPECT_EQ(spec.pretokenizer, "");
  EXPECT_EQ(spec.split_patterns, (std::vector<std::string>{"a"}));
  const auto tokenizer = Tokenizer::create(spec);
  EXPECT_EQ(tokenizer->encode("ab"), (std::vector<TokenId>{257, 'a', 'b'}));
}

TEST(HfTokenizerJsonTest, TheConfigNamesTokensAndDecidesOverBos) {
  const TokenizerSpec spec = parse(
      byte_level_json(),
      R"({"eos_token": {"content": "<tag>"}, "pad_token": "a", "add_bos_token": false})");
  EXPECT_EQ(spec.eos, 258);
  EXPECT_EQ(spec.padding, 'a');
  EXPECT_FALSE(spec.add_bos);
  EXPECT_EQ(spec.bos, 257);
  EXPECT_ERROR(parse(byte_level_json(), R"({"eos_token": "<gone>"})"), CORRUPT,
               "tokenizer_config.json: eos_token is '<gone>'");
}

// Each change makes the file say something that it must not, or that would silently change tokens.
TEST(HfTokenizerJsonTest, WhatIsWrongOrUnsupportedIsNamed) {
  const auto refused = [](const char* pointer, const json& value, Status status,
                          const char* words) {
    json document = byte_level_json();
    document[json::json_pointer(pointer)] = value;
    EXPECT_TRUE(throws_error([&] { Tokenizer::create(parse(document)); }, status, words));
  };
  refused("/model", nullptr, Status::CORRUPT, "has no 'model'");
  refused("/model/type", "WordPiece", Status::UNSUPPORTED, "model has the type 'WordPiece'");
  refused("/model/vocab", json::array(), Status::CORRUPT, "model.vocab must be an object");
  refused("/model/vocab/x1", -1, Status::CORRUPT, "must be a token id");
  refused("/model/vocab/x1", 1.5, Status::CORRUPT, "must be a token id");
  refused("/model/vocab/x1", 1ull << 40, Status::CORRUPT, "too large");
  refused("/model/vocab/x1", 2000000000, Status::CORRUPT, "only 260 tokens");
  refused("/model/vocab/x1", 65, Status::CORRUPT, "gives id 65");
  refused("/added_tokens/0/id", 65, Status::CORRUPT, "added_tokens[0] gives id 65");
  refused("/added_tokens/0/lstrip", true, Status::UNSUPPORTED, "has lstrip");
  refused("/added_tokens/0/content", 7, Status::CORRUPT, "added_tokens[0].content");
  refused("/added_tokens", "none", Status::CORRUPT, "added_tokens must be a list");
  refused("/model/merges/0", json::array({"a"}), Status::CORRUPT, "model.merges[0]");
  refused("/model/merges/0", json::array({"a", 1}), Status::CORRUPT, "model.merges[0][1]");
  refused("/model/merges/0", "a zz", Status::CORRUPT, "merge 0");
  refused("/model/end_of_word_suffix", "</w>", Status::UNSUPPORTED, "end_of_word_suffix");
  refused("/model/unk_token", "<gone>", Status::CORRUPT, "'<gone>'");
  refused("/normalizer", {{"type", "Lowercase"}}, Status::UNSUPPORTED, "normalizer");
  refused("/pre_tokenizer", nullptr, Status::UNSUPPORTED, "neither byte-level");
  refused("/pre_tokenizer", {{"type", "BertPreTokenizer"}}, Status::UNSUPPORTED, "Bert");
  refused("/pre_tokenizer/add_prefix_space", true, Status::UNSUPPORTED, "add_prefix_space");
  refused("/pre_tokenizer", sequence_of({split_part("a", "Removed"), kBytesOnly}),
          Status::UNSUPPORTED, "pre_tokenizer.pretokenizers[0]");
  refused("/pre_tokenizer", sequence_of({split_part("(")}), Status::UNSUPPORTED, "neither");
  refused("/pre_tokenizer", sequence_of({split_part("("), kBytesOnly}), Status::UNSUPPORTED,
          "regex '('");
  refused("/post_processor/special_tokens", json::object(), Status::CORRUPT, "'<bos>'");
  refused("/post_processor/special_tokens/<bos>/ids", {12345}, Status::CORRUPT, "12345");
  refused("/post_processor", {{"type", "RobertaProcessing"}}, Status::UNSUPPORTED, "Roberta");
}

TEST(HfTokenizerJsonTest, TextThatIsNotJsonIsRefused) {
  EXPECT_ERROR(parse_hf_tokenizer_json("", ""), CORRUPT, "tokenizer.json is not JSON");
  EXPECT_ERROR(parse_hf_tokenizer_json("{\"model\": ", ""), CORRUPT, "byte 11");
  EXPECT_ERROR(parse_hf_tokenizer_json("[]", ""), CORRUPT, "must be an object");
  EXPECT_ERROR(parse_hf_tokenizer_json("{\"a\": \"\xff\"}", ""), CORRUPT, "not JSON");
  EXPECT_ERROR(parse_hf_tokenizer_json(std::string(1'000'000, '['), ""), UNSUPPORTED, "nested");
}

// Replaces, removes or repeats random parts of real files: each result is read or refused with an
// Error, and what was read can encode.
void mutate(json& value, std::mt19937_64& random) {
  json* place = &value;
  while (place->is_structured() && !place->empty() && random() % 5 != 0) {
    auto child = place->begin();
    // Vocabularies are long: mostly mutate the structure around them.
    std::advance(child,
                 static_cast<std::ptrdiff_t>(random() % std::min<size_t>(place->size(), 40)));
    place = &*child;
  }
  const json kValues[] = {nullptr,
                          true,
                          -1,
                          0,
                          3,
                          300,
                          1e300,
                          1ull << 63,
                          "",
                          "<bos>",
                          "\u2581",
                          "ByteLevel",
                          json::array(),
                          json::object(),
                          json::array({1, "a"})};
  switch (random() % 3) {
    case 0: *place = kValues[random() % std::size(kValues)]; break;
    case 1: *place = json::array({*place, *place}); break;
    default:
      if (place->is_structured() && !place->empty()) {
        place->erase(place->begin());
      } else {
        *place = value.is_object() && !value.empty() ? json(value.begin().value()) : json();
      }
  }
}

TEST(HfTokenizerJsonTest, MutatedFilesAreReadOrRefused) {
  std::mt19937_64 random(test_seed());
  const json originals[] = {
      byte_level_json(), piece_json(),
      json::parse(File::read_all(KVINFER_TEST_DATA "/goldens/tokenizer_json_bytes.json", 1 << 20))};
  int num_read = 0, num_refused = 0;
  for (int i = 0; i < 3000; ++i) {
    json document = originals[random() % std::size(originals)];
    for (size_t n = 1 + random() % 2; n > 0; --n) mutate(document, random);
    try {
      const auto tokenizer = Tokenizer::create(parse(document));
      tokenizer->encode("Some text, <bos> 123\n", {.parse_special = ParseSpecial::yes});
      ++num_read;
    } catch (const Error& error) {
      ASSERT_TRUE(error.status() == Status::CORRUPT || error.status() == Status::UNSUPPORTED)
          << error.message();
      ++num_refused;
    }
  }
  EXPECT_GT(num_read, 100);
  EXPECT_GT(num_refused, 100);
}

TEST(HfTokenizerJsonTest, FilesCutAtAnyByteAreRefused) {
  const std::string text = piece_json().dump();
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_ERROR(parse_hf_tokenizer_json(std::string_view(text).substr(0, size), ""), CORRUPT,
                 "not JSON");
  }
}

}  // namespace
}  // namespace kvi
