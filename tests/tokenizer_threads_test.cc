// One tokenizer used by eight threads at once: each gets what a single thread gets.
#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "base/file.h"
#include "engine/loaded_model.h"
#include "support/real_models.h"
#include "support/seed.h"
#include "support/tokenizer_samples.h"
#include "support/tokenizer_specs.h"

namespace kvi {
namespace {

constexpr int kNumThreads = 8;
constexpr int kTextsPerThread = 100;

struct Encoded {
  std::vector<TokenId> tokens;
  std::string decoded;
  bool operator==(const Encoded&) const = default;
};

// Each seventh text is long enough for the cache of words that an encode call keeps.
std::string text_at(uint64_t index) {
  std::string text = random_text(index);
  for (uint64_t i = 1; index % 7 == 0 && text.size() < 2000; ++i) text += random_text(index + i);
  return text;
}

Encoded encode(const Tokenizer& tokenizer, uint64_t index) {
  EncodeOptions options;
  options.parse_special = index % 2 ? ParseSpecial::yes : ParseSpecial::no;
  Encoded encoded;
  encoded.tokens = tokenizer.encode(text_at(index), options);
  encoded.decoded = tokenizer.decode(encoded.tokens, true);
  return encoded;
}

void expect_threads_agree(const Tokenizer& tokenizer) {
  const uint64_t first = test_seed() % 1'000'000'000;
  std::vector<Encoded> found(kNumThreads * kTextsPerThread);
  std::latch start(kNumThreads);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kNumThreads; ++thread) {
    threads.emplace_back([&, thread] {
      start.arrive_and_wait();
      for (size_t i = thread; i < found.size(); i += kNumThreads) {
        found[i] = encode(tokenizer, first + i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i], encode(tokenizer, first + i)) << "text " << first + i;
  }
}

TEST(TokenizerThreadsTest, EightThreadsEncodeByteLevelBpeAsOneDoes) {
  TokenizerSpec spec = byte_spec({{"t", "h"}, {"th", "e"}, {" ", "the"}, {"1", "2"}, {"a", "b"}});
  add_token(spec, "<|end|>", TokenKind::control);
  expect_threads_agree(*Tokenizer::create(spec));
}

TEST(TokenizerThreadsTest, EightThreadsEncodeSentencePieceAsOneDoes) {
  TokenizerSpec spec = piece_spec({"th", "the", "▁", "▁t", "▁the", "ab", "12", "e"});
  add_token(spec, "[user]", TokenKind::user_defined);
  spec.add_space_prefix = true;
  expect_threads_agree(*Tokenizer::create(spec));
}

TEST(TokenizerThreadsTest, EightThreadsShareTheTokenizersOfTheRealModels) {
  for (const char* name : {kSmolLm2, kGemma3}) {
    const std::string path = real_model_path(name);
    if (!file_exists(path)) GTEST_SKIP() << "no " << path << ": tests/fetch_models.sh fetches it";
    LoadOptions options;
    options.load_weights = false;
    expect_threads_agree(LoadedModel::open(path, options)->tokenizer());
  }
}

}  // namespace
}  // namespace kvi
