// Every tokenizer against an independent reference on 24,273 samples: real text and random strings.
// tests/generate/tokenizer_goldens.py says what the references are.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "engine/tokenizer_loader.h"
#include "support/real_models.h"
#include "support/tokenizer_samples.h"
#include "tokenizer/hf_tokenizer_json.h"
#include "tokenizer/nfc.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/tokenizer.h"

namespace kvi {
namespace {

struct Golden {
  Digest texts{}, ids{};
  std::vector<uint16_t> folded;  // by sample
};

Golden read_golden(const std::string& name) {
  const std::string path = KVINFER_TEST_DATA "/goldens/tokenizer_" + name + ".bin";
  const std::string bytes = File::read_all(path, 1 << 20);
  Golden golden;
  std::copy_n(bytes.begin(), 32, golden.texts.begin());
  std::copy_n(bytes.begin() + 32, 32, golden.ids.begin());
  for (size_t i = 64; i + 1 < bytes.size(); i += 2) {
    golden.folded.push_back(static_cast<uint16_t>(static_cast<uint8_t>(bytes[i]) |
                                                  static_cast<uint8_t>(bytes[i + 1]) << 8));
  }
  return golden;
}

uint16_t fold(std::span<const TokenId> ids) {
  uint64_t value = 0xcbf29ce484222325;
  for (std::byte byte : std::as_bytes(ids)) {
    value = (value ^ static_cast<uint64_t>(byte)) * 0x100000001b3;
  }
  value ^= value >> 32;
  return static_cast<uint16_t>(value ^ value >> 16);
}

const std::vector<std::string>& samples() {
  static const std::vector<std::string> all = tokenizer_samples();
  return all;
}

void expect_golden(const std::string& name, const Tokenizer& tokenizer,
                   const EncodeOptions& options) {
  const Golden golden = read_golden(name);
  ASSERT_EQ(golden.folded.size(), samples().size());
  Sha256 texts, all_ids;
  int num_wrong = 0;
  for (size_t i = 0; i < samples().size(); ++i) {
    const std::string& text = samples()[i];
    texts.update(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
    std::vector<TokenId> ids = tokenizer.encode(text, options);
    if (fold(ids) != golden.folded[i] && ++num_wrong <= 5) {
      std::string shown;
      for (TokenId id : ids) shown += concat(" ", id);
      ADD_FAILURE() << "sample " << i << ": " << quoted(text, 400) << "\nbecame" << shown
                    << "\nCompare: tests/generate/compare_tokenizer.py --sample " << i;
    }
    ids.push_back(-1);
    all_ids.update(std::as_bytes(std::span(ids)));
  }
  EXPECT_EQ(num_wrong, 0) << "of " << samples().size();
  EXPECT_EQ(texts.finish(), golden.texts) << "the samples differ from those of the generator";
  EXPECT_EQ(all_ids.finish(), golden.ids);
}

// Null when the model is not there.
std::unique_ptr<ModelFile> open(const char* file_name) {
  const std::string path = real_model_path(file_name);
  return file_exists(path) ? ModelFile::open(path) : nullptr;
}

std::unique_ptr<Tokenizer> load(const ModelFile& file) {
  return load_tokenizer(file, std::numeric_limits<int64_t>::max());
}

TokenizerSpec spec_of(const ModelFile& file) { return load(file)->spec(); }

#define OPEN_OR_SKIP(file, file_name)                      \
  const std::unique_ptr<ModelFile> file = open(file_name); \
  if (!file) GTEST_SKIP() << file_name << " is missing: run tests/fetch_models.sh"

const EncodeOptions kPlain{.add_bos = AddBos::no};
const EncodeOptions kSpecial{.add_bos = AddBos::no, .parse_special = ParseSpecial::yes};

// SmolLM2's vocabulary has no token for these bytes; the reference drops them too.
bool smollm2_can_express(const std::string& text) {
  return text.find_first_of("\x04\x06\x13\x14\x16\x1d\xf1\xf2") == std::string::npos;
}

// SmolLM2's vocabulary with another model's rules.
TokenizerSpec smollm2_as(const ModelFile& file, const char* gguf_pretokenizer) {
  TokenizerSpec spec = spec_of(file);
  set_gguf_pretokenizer(gguf_pretokenizer, spec);
  return spec;
}

TEST(TokenizerGoldenTest, SmolLm2MatchesHfTokenizers) {
  OPEN_OR_SKIP(file, kSmolLm2);
  const auto tokenizer = load(*file);
  expect_golden("smollm2", *tokenizer, kPlain);
  expect_golden("smollm2_special", *tokenizer, kSpecial);
}

TEST(TokenizerGoldenTest, Gpt2RulesMatchHfTokenizers) {
  OPEN_OR_SKIP(file, kSmolLm2);
  expect_golden("gpt2", *Tokenizer::create(smollm2_as(*file, "gpt-2")), kPlain);
}

TEST(TokenizerGoldenTest, Llama3RulesMatchHfTokenizers) {
  OPEN_OR_SKIP(file, kSmolLm2);
  expect_golden("llama3", *Tokenizer::create(smollm2_as(*file, "llama-bpe")), kPlain);
}

TEST(TokenizerGoldenTest, Qwen2RulesMatchHfTokenizers) {
  OPEN_OR_SKIP(file, kSmolLm2);
  expect_golden("qwen2", *Tokenizer::create(smollm2_as(*file, "qwen2")), kPlain);
}

TEST(TokenizerGoldenTest, Gemma3MatchesSentencePiece) {
  OPEN_OR_SKIP(file, kGemma3);
  const auto tokenizer = load(*file);
  expect_golden("gemma3", *tokenizer, kPlain);
  expect_golden("gemma3_special", *tokenizer, kSpecial);
}

TEST(TokenizerGoldenTest, SpacePrefixMatchesSentencePiece) {
  OPEN_OR_SKIP(file, kGemma3);
  TokenizerSpec spec = spec_of(*file);
  spec.add_space_prefix = true;
  const auto tokenizer = Tokenizer::create(std::move(spec));
  expect_golden("gemma3_prefix", *tokenizer, kPlain);
  for (const std::string& text : samples()) {
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), with_plain_spaces(text));
  }
}

TEST(TokenizerGoldenTest, DecodingGivesBackWhatSmolLm2Encoded) {
  OPEN_OR_SKIP(file, kSmolLm2);
  const auto tokenizer = load(*file);
  const auto qwen2 = Tokenizer::create(smollm2_as(*file, "qwen2"));
  for (const std::string& text : samples()) {
    if (!smollm2_can_express(text)) continue;
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    ASSERT_EQ(qwen2->decode(qwen2->encode(text)), normalize_nfc(text));
  }
}

TEST(TokenizerGoldenTest, DecodingGivesBackWhatGemma3Encoded) {
  OPEN_OR_SKIP(file, kGemma3);
  const auto tokenizer = load(*file);
  for (const std::string& text : samples()) {
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), with_plain_spaces(text));
  }
}

std::unique_ptr<Tokenizer> from_json(const std::string& name) {
  const std::string path = KVINFER_TEST_DATA "/goldens/tokenizer_" + name + ".json";
  return Tokenizer::create(parse_hf_tokenizer_json(File::read_all(path, 1 << 20), ""));
}

// These two find control tokens in text, as the reference does, and add the BOS of the template.
TEST(TokenizerGoldenTest, ByteLevelJsonMatchesHfTokenizers) {
  const auto tokenizer = from_json("json_bytes");
  expect_golden("json_bytes", *tokenizer,
                {.add_bos = AddBos::yes, .parse_special = ParseSpecial::yes});
  for (const std::string& text : samples()) {
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), normalize_nfc(text));
  }
}

TEST(TokenizerGoldenTest, SentencePieceJsonMatchesHfTokenizers) {
  const auto tokenizer = from_json("json_pieces");
  expect_golden("json_pieces", *tokenizer, {.parse_special = ParseSpecial::yes});
}

}  // namespace
}  // namespace kvi
