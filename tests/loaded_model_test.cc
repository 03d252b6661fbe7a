// What a model file may not say about itself, as the loader sees it: refused with the same status
// whether weights are loaded or not, in messages that name the file, the key and what was expected.
#include "engine/loaded_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/text.h"
#include "engine/fingerprint.h"
#include "support/expect_error.h"
#include "support/gguf_writer.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

// A llama of two layers and 40 tokens; its numbers are for a test to get wrong.
struct TinyLlama {
  uint32_t num_layers = 2, vocab_size = 40, context_len = 64;
  float norm_eps = 1e-5f, rope_base = 10000, rope_factor = 2;
  std::vector<int32_t> token_types;  // none: no tokenizer

  GgufWriter file() const {
    GgufWriter writer;
    writer.add_string("general.architecture", "llama")
        .add_u32("llama.block_count", num_layers)
        .add_u32("llama.vocab_size", vocab_size)
        .add_u32("llama.context_length", context_len)
        .add_u32("llama.embedding_length", 32)
        .add_u32("llama.feed_forward_length", 64)
        .add_u32("llama.attention.head_count", 2)
        .add_f32("llama.attention.layer_norm_rms_epsilon", norm_eps)
        .add_f32("llama.rope.freq_base", rope_base)
        .add_string("llama.rope.scaling.type", "linear")
        .add_f32("llama.rope.scaling.factor", rope_factor);
    if (!token_types.empty()) {
      writer.add_string("tokenizer.ggml.model", "llama")
          .add_strings("tokenizer.ggml.tokens", {"<unk>", "a"})
          .add_ints("tokenizer.ggml.token_type", token_types);
    }
    auto add = [&](const std::string& name, std::vector<uint64_t> dims) {
      const uint64_t count = dims[0] * (dims.size() > 1 ? dims[1] : 1);
      writer.add_tensor(name, DType::F32, std::move(dims), std::vector<float>(count, 0.125f));
    };
    add("token_embd.weight", {32, 40});
    add("output_norm.weight", {32});
    for (const char* layer : {"blk.0.", "blk.1."}) {
      for (const char* name : {"attn_norm", "ffn_norm"}) add(concat(layer, name, ".weight"), {32});
      for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
        add(concat(layer, name, ".weight"), {32, 32});
      for (const char* name : {"ffn_gate", "ffn_up"}) add(concat(layer, name, ".weight"), {32, 64});
      add(concat(layer, "ffn_down.weight"), {64, 32});
    }
    return writer;
  }
};

class LoadedModelTest : public testing::Test {
 protected:
  std::shared_ptr<const LoadedModel> open(const GgufWriter& writer, bool load_weights) {
    LoadOptions options;
    options.load_weights = load_weights;
    return LoadedModel::open(folder_.write("model.gguf", writer.bytes()), options);
  }

  void expect_corrupt(const TinyLlama& model, const std::string& words) {
    for (bool load_weights : {true, false}) {
      EXPECT_ERROR(open(model.file(), load_weights), CORRUPT, words);
      EXPECT_ERROR(open(model.file(), load_weights), CORRUPT,
                   kvi::quoted(folder_.path("model.gguf")));
    }
  }

  TempFolder folder_;
};

TEST_F(LoadedModelTest, ASoundFileOpens) {
  EXPECT_NO_THROW(open(TinyLlama().file(), true)->weights());
  EXPECT_EQ(open(TinyLlama().file(), false)->unsupported_reason(), "");
}

TEST_F(LoadedModelTest, LayersBeyondTheBlockCountAreRefused) {
  expect_corrupt({.num_layers = 1, .token_types = {}}, "'blk.1.attn_norm.weight'");
  expect_corrupt({.num_layers = 1, .token_types = {}}, "llama.block_count");
}

TEST_F(LoadedModelTest, AVocabularyOfAnotherSizeThanTheEmbeddingIsRefused) {
  for (uint32_t size : {39u, 41u, 100000u}) {
    expect_corrupt({.vocab_size = size, .token_types = {}},
                   concat("llama.vocab_size is ", size, ", but tensor token_embd.weight has 40"));
  }
}

TEST_F(LoadedModelTest, NumbersOutOfRangeSayWhatWasExpected) {
  expect_corrupt({.context_len = 0, .token_types = {}}, "llama.context_length is 0; expected 1 to");
  expect_corrupt({.context_len = UINT32_MAX, .token_types = {}},
                 "llama.context_length is 4294967295; expected 1 to");
  expect_corrupt({.norm_eps = -1, .token_types = {}}, "expected 0 or more, less than 1");
  for (float value : {0.0f, -1.0f, NAN, INFINITY}) {
    expect_corrupt({.rope_base = value, .token_types = {}},
                   "'llama.rope.freq_base' is " + std::to_string(value) +
                       "; expected a positive finite number");
    expect_corrupt({.rope_factor = value, .token_types = {}},
                   "'llama.rope.scaling.factor' is " + std::to_string(value) +
                       "; expected a positive finite number");
  }
}

TEST_F(LoadedModelTest, ErrorsOfTheTokenizerNameTheFile) {
  expect_corrupt({.token_types = {1}}, "tokenizer.ggml.token_type has 1 entries for 2 tokens");
}

TEST_F(LoadedModelTest, AVocabularyAloneCanBeLookedAtButNotRun) {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  EXPECT_ERROR(open(writer, true), UNSUPPORTED, "no tensors");
  EXPECT_ERROR(open(writer, false)->config(), UNSUPPORTED,
               "model.gguf': the file holds no tensors");
}

// Keys of cached prefixes and snapshots rest on it, so that it outlives versions of the library.
TEST(FingerprintTest, OfAGivenFileIsForEver) {
  const auto file = ModelFile::open(KVINFER_TEST_DATA "/models/tiny/llama-q4_1.gguf");
  EXPECT_EQ(model_fingerprint(*file),
            "b0692589edb1e6860d8a27a6369a1716b43b5d74abeff920f888ed8d94c751e6");
}

}  // namespace
}  // namespace kvi
