#include "format/safetensors.h"

#include <gtest/gtest.h>

#include <set>

#include "base/text.h"
#include "support/expect_error.h"
#include "support/safetensors_writer.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

using nlohmann::json;

class SafetensorsTest : public testing::Test {
 protected:
  std::unique_ptr<ModelFile> open(const std::string& bytes) {
    folder_.write("config.json", config_.dump());
    return ModelFile::open(folder_.write("model.safetensors", bytes));
  }
  std::unique_ptr<ModelFile> open(const SafetensorsWriter& writer) { return open(writer.bytes()); }
  std::unique_ptr<ModelFile> open_header(const std::string& header) {
    SafetensorsWriter writer;
    writer.header = header;
    writer.data() = std::string(16, 'x');
    return open(writer);
  }

  // Two shards and their index: tensors with an even number in the first.
  json write_shards() {
    const SafetensorsWriter whole = tiny_hf_tensors();
    SafetensorsWriter shards[2];
    json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
    for (size_t i = 0; i < whole.names().size(); ++i) {
      const std::string name = whole.names()[i];
      SafetensorsWriter copy = whole;
      shards[i % 2].add(name, "BF16", copy.entry(name)["shape"].get<std::vector<uint64_t>>());
      index["weight_map"][name] = i % 2 == 0 ? "a.safetensors" : "b.safetensors";
    }
    folder_.write("config.json", config_.dump());
    folder_.write("a.safetensors", shards[0].bytes());
    folder_.write("b.safetensors", shards[1].bytes());
    return index;
  }
  std::unique_ptr<ModelFile> open_index(const json& index) {
    return ModelFile::open(folder_.write("model.safetensors.index.json", index.dump()));
  }

  static std::string read(const ModelFile& file, std::string_view name) {
    const TensorInfo& tensor = *file.find(name);
    std::string bytes(tensor.size_bytes, '\0');
    file.read_rows(tensor, 0, tensor.rows, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }

  json config_ = tiny_hf_config("llama");
  TempFolder folder_;
};

TEST_F(SafetensorsTest, TensorsAppearUnderTheirGgufNames) {
  std::unique_ptr<ModelFile> file = open(tiny_hf_tensors());
  EXPECT_EQ(file->format(), ModelFormat::safetensors);
  EXPECT_EQ(file->path(), folder_.path("model.safetensors"));
  EXPECT_EQ(file->metadata().get_string("general.architecture"), "llama");
  EXPECT_EQ(file->tensors().size(), 21u);
  const TensorInfo& down = *file->find("blk.1.ffn_down.weight");
  EXPECT_EQ(down.dtype, DType::BF16);
  EXPECT_EQ(down.rows, 8);
  EXPECT_EQ(down.cols, 12);
  EXPECT_EQ(down.size_bytes, 192u);
  EXPECT_EQ(file->find("output_norm.weight")->rows, 1);
  EXPECT_NE(file->find("output.weight"), nullptr);
  uint64_t total = 0;
  for (const TensorInfo& tensor : file->tensors()) total += tensor.size_bytes;
  EXPECT_EQ(file->size_bytes(), total);
}

TEST_F(SafetensorsTest, RowsAreReadFromTheirPlace) {
  std::unique_ptr<ModelFile> file = open(tiny_hf_tensors());
  const std::string embedding = read(*file, "token_embd.weight");
  for (size_t i = 0; i < embedding.size(); ++i)
    ASSERT_EQ(embedding[i], static_cast<char>(1 + i * 5));
  std::string rows(32, '\0');
  file->read_rows(*file->find("token_embd.weight"), 3, 2, std::as_writable_bytes(std::span(rows)));
  EXPECT_EQ(rows, embedding.substr(48, 32));
  EXPECT_ERROR(file->read_rows(*file->find("token_embd.weight"), 15, 2,
                               std::as_writable_bytes(std::span(rows))),
               INTERNAL, "num_rows");
}

TEST_F(SafetensorsTest, Gpt2WeightsAreTransposedAndItsBiasesAreNot) {
  config_ = tiny_hf_config("gpt2");
  config_["vocab_size"] = 2;
  std::vector<float> stored(3 * 5);  // [in 3, out 5]
  for (size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<float>(i);
  SafetensorsWriter writer;
  writer.add("transformer.wte.weight", "F32", {2, 3})
      .add_floats("h.0.attn.c_attn.weight", {3, 5}, stored)
      .add_floats("h.0.attn.c_attn.bias", {5}, {1, 2, 3, 4, 5})
      .add("h.0.attn.bias", "BOOL", {1, 1, 4, 4});
  std::unique_ptr<ModelFile> file = open(writer);
  EXPECT_EQ(file->tensors().size(), 3u);  // the causal mask is none
  const TensorInfo& qkv = *file->find("blk.0.attn_qkv.weight");
  EXPECT_EQ(qkv.rows, 5);
  EXPECT_EQ(qkv.cols, 3);
  for (int64_t first = 0; first < 5; ++first) {
    for (int64_t count = 0; first + count <= 5; ++count) {
      std::vector<float> rows(static_cast<size_t>(count * 3), -1);
      file->read_rows(qkv, first, count, std::as_writable_bytes(std::span(rows)));
      for (int64_t i = 0; i < count * 3; ++i) {
        ASSERT_EQ(rows[i], static_cast<float>(i % 3 * 5 + first + i / 3));
      }
    }
  }
  std::vector<float> bias(5);
  file->read_rows(*file->find("blk.0.attn_qkv.bias"), 0, 1,
                  std::as_writable_bytes(std::span(bias)));
  EXPECT_EQ(bias, (std::vector<float>{1, 2, 3, 4, 5}));
}

TEST_F(SafetensorsTest, ShardsReadLikeOneFile) {
  std::unique_ptr<ModelFile> file = open_index(write_shards());
  EXPECT_EQ(file->path(), folder_.path("model.safetensors.index.json"));
  EXPECT_EQ(file->tensors().size(), 21u);
  std::set<std::string> first_bytes;
  for (const TensorInfo& tensor : file->tensors()) first_bytes.insert(read(*file, tensor.name));
  EXPECT_GE(first_bytes.size(), 11u);                      // each shard numbers its tensors
  EXPECT_EQ(read(*file, "blk.0.attn_norm.weight")[0], 1);  // first of the second shard
}

TEST_F(SafetensorsTest, TheTokenizerIsTheFileBesideTheModel) {
  EXPECT_EQ(open(tiny_hf_tensors())->tokenizer_json(), "");
  folder_.write("tokenizer.json", "{\"version\": \"1.0\"}");
  EXPECT_EQ(open(tiny_hf_tensors())->tokenizer_json(), "{\"version\": \"1.0\"}");
}

TEST_F(SafetensorsTest, ATiedOutputMatrixIsTheEmbedding) {
  config_["tie_word_embeddings"] = true;
  EXPECT_EQ(open(tiny_hf_tensors())->find("output.weight"), nullptr);
}

TEST_F(SafetensorsTest, AnUntiedModelNeedsItsOutputMatrix) {
  SafetensorsWriter writer;
  writer.add("model.embed_tokens.weight", "F32", {16, 8});
  EXPECT_ERROR(open(writer), CORRUPT, "'lm_head.weight'");
}

TEST_F(SafetensorsTest, ConfigsThatContradictTheTensorsAreRefused) {
  config_["vocab_size"] = 100000;
  EXPECT_ERROR(open(tiny_hf_tensors()), CORRUPT,
               "'vocab_size' of config.json is 100000, but the embedding has 16 rows");
  config_ = tiny_hf_config("llama");
  config_["num_hidden_layers"] = 1;
  EXPECT_ERROR(open(tiny_hf_tensors()), CORRUPT, "'model.layers.1.");
  EXPECT_ERROR(open(tiny_hf_tensors()), CORRUPT, "num_hidden_layers");
}

TEST_F(SafetensorsTest, BiasesThatTheConfigPromisesAreThere) {
  SafetensorsWriter writer = tiny_hf_tensors();
  config_["attention_bias"] = true;
  EXPECT_ERROR(open(writer), CORRUPT, "no tensor 'model.layers.0.self_attn.q_proj.bias'");
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    for (const char* name : {"q", "k", "v", "o"}) {
      writer.add(concat(layer, "self_attn.", name, "_proj.bias"), "BF16",
                 {*name == 'k' || *name == 'v' ? 4u : 8u});
    }
  }
  EXPECT_NO_THROW(open(writer));
  config_["mlp_bias"] = true;
  EXPECT_ERROR(open(writer), CORRUPT, "mlp_bias");
}

TEST_F(SafetensorsTest, UnknownNamesAreKeptForTheLoaderToJudge) {
  std::unique_ptr<ModelFile> file = open(
      tiny_hf_tensors().add("model.layers.0.mystery.weight", "F32", {3}));
  EXPECT_NE(file->find("model.layers.0.mystery.weight"), nullptr);
}

TEST_F(SafetensorsTest, DTypesThatModelsCannotUseAreNamed) {
  for (const char* dtype : {"F64", "I64", "I32", "I8", "F8_E4M3", "BOOL"}) {
    EXPECT_ERROR(open(tiny_hf_tensors().add("model.layers.0.self_attn.q_norm.weight", dtype, {8})),
                 UNSUPPORTED, dtype);
  }
  EXPECT_ERROR(open(tiny_hf_tensors().add("t", "Q3_XYZ", {8})), UNSUPPORTED, "'Q3_XYZ'");
  EXPECT_NO_THROW(open(tiny_hf_tensors().add("vision_tower.ids", "I64", {8})));  // takes no part
}

TEST_F(SafetensorsTest, TwoNamesForOneTensorAreRefused) {
  SafetensorsWriter writer = tiny_hf_tensors();
  writer.add("language_model.model.norm.weight", "BF16", {8});
  EXPECT_ERROR(open(writer), CORRUPT, "appears twice, as 'output_norm.weight'");
}

TEST_F(SafetensorsTest, EmptyAndMisshapenTensorsAreRefused) {
  EXPECT_ERROR(open(tiny_hf_tensors().add("model.layers.0.self_attn.q_norm.weight", "F32", {0, 8})),
               CORRUPT, "q_norm.weight' is empty");
  config_ = tiny_hf_config("gpt2");
  SafetensorsWriter writer;
  EXPECT_ERROR(open(writer.add("h.0.attn.c_attn.weight", "F32", {2, 3, 4})), CORRUPT,
               "two dimensions");
}

TEST_F(SafetensorsTest, AFileWithoutALanguageModelIsRefused) {
  SafetensorsWriter writer;
  EXPECT_ERROR(open(writer), CORRUPT, "no tensor");
}

TEST_F(SafetensorsTest, HeaderLengthsPastTheFileAreRefused) {
  for (uint64_t length : {uint64_t{100000}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 7}) {
    SafetensorsWriter writer = tiny_hf_tensors();
    writer.header_bytes = length;
    EXPECT_ERROR(open(writer), CORRUPT, "header has " + std::to_string(length));
  }
  SafetensorsWriter writer = tiny_hf_tensors();
  writer.header_bytes = 0;
  EXPECT_ERROR(open(writer), CORRUPT, "not a JSON object");
}

TEST_F(SafetensorsTest, HeadersLargerThanTheFormatAllowsAreUnsupported) {
  folder_.write("config.json", config_.dump());
  SafetensorsWriter writer = tiny_hf_tensors();
  writer.header_bytes = 100'000'001;
  const std::string path = folder_.write("model.safetensors", writer.bytes());
  std::filesystem::resize_file(path, 200'000'000);  // sparse
  EXPECT_ERROR(ModelFile::open(path), UNSUPPORTED, "100000001");
}

TEST_F(SafetensorsTest, HeadersOfAnotherFormAreRefused) {
  const std::string tensor = R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})";
  const std::pair<std::string, const char*> kHeaders[] = {
      {"[1]", "not a JSON object"},
      {"{", "not JSON"},
      {R"({"t":)" + tensor, "not JSON"},
      {"{\"\xff\":" + tensor + "}", "not JSON"},
      {R"({"t":3})", "'t' has a number"},
      {R"({"t":null})", "'t' has null"},
      {R"({"t":[1]})", "'t' has an array"},
      {R"({"t":"F32"})", "'t' has a string"},
      {R"({"t":{}})", "'t' lacks"},
      {R"({"t":{"dtype":"F32","shape":[4]}})", "'t' lacks"},
      {R"({"t":{"dtype":{"a":1}}})", "'t' has an object"},
      {R"({"t":{"dtype":7}})", "'t' has a number"},
      {R"({"t":{"dtype":true}})", "'t' has a bool"},
      {R"({"t":{"shape":"4"}})", "'t' has a string"},
      {R"({"t":{"shape":[[4]]}})", "'t' has an array"},
      {R"({"t":{"shape":[-4]}})", "'t' has a negative"},
      {R"({"t":{"shape":[4.5]}})", "'t' has a fraction"},
      {R"({"t":{"shape":[99999999999999999999]}})", "'t' has a fraction"},
      {R"({"t":{"shape":[1,1,1,1,1,1,1,1,1]}})", "'t' has a number"},
      {R"({"t":{"shape":[18446744073709551615]}})", "'t' has a dimension"},
      {R"({"t":{"data_offsets":[0]}})", "[begin, end]"},
      {R"({"t":{"data_offsets":[0,1,2]}})", "[begin, end]"},
      {R"({"t":{"data_offsets":[9,1]}})", "[begin, end]"},
      {R"({"t":{"extra":1}})", "unknown field 'extra'"},
      {R"({"t":{"dtype":"F32","dtype":"F16"}})", "'dtype' twice"},
      {R"({"t":)" + tensor + R"(,"t":)" + tensor + "}", "'t' appears twice"},
      {R"({"__metadata__":{"a":{"b":1}}})", "an object"},
  };
  for (const auto& refused : kHeaders) {
    EXPECT_ERROR(open_header(refused.first), CORRUPT, refused.second) << refused.first;
  }
}

TEST_F(SafetensorsTest, MetadataSpacesAndTensorsWithoutValuesArePartOfTheFormat) {
  config_["tie_word_embeddings"] = true;
  config_["vocab_size"] = 1;
  std::unique_ptr<ModelFile> file = open_header(
      R"({"__metadata__":{"format":"pt"},)"
      R"("model.embed_tokens.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
      R"("vision_tower.none":{"dtype":"F32","shape":[0,3],"data_offsets":[16,16]}}   )");
  EXPECT_EQ(file->tensors().size(), 1u);
}

TEST_F(SafetensorsTest, ExtentsMustFillTheFile) {
  auto header = [](const char* a, const char* b) {
    return std::string(R"({"a":{"dtype":"U8","shape":)") + a + R"(},"b":{"dtype":"U8","shape":)" +
           b + "}}";
  };
  EXPECT_ERROR(open_header(header(R"([8],"data_offsets":[0,8])", R"([8],"data_offsets":[4,12])")),
               CORRUPT, "overlap");
  EXPECT_ERROR(open_header(header(R"([4],"data_offsets":[0,4])", R"([8],"data_offsets":[8,16])")),
               CORRUPT, "hole of 4 bytes before tensor 'b'");
  EXPECT_ERROR(open_header(header(R"([4],"data_offsets":[0,4])", R"([8],"data_offsets":[4,12])")),
               CORRUPT, "4 bytes after the last tensor");
  EXPECT_ERROR(open_header(header(R"([8],"data_offsets":[0,8])", R"([9],"data_offsets":[8,17])")),
               CORRUPT, "'b' ends at byte 17");
  EXPECT_ERROR(open_header(header(R"([8],"data_offsets":[0,8])", R"([7],"data_offsets":[8,16])")),
               CORRUPT, "'b' has 8 bytes");
  EXPECT_ERROR(open_header(header(R"([8],"data_offsets":[0,8])",
                                  R"([4294967296,4294967296],"data_offsets":[8,16])")),
               CORRUPT, "overflow");
  EXPECT_ERROR(
      open_header(header(R"([8],"data_offsets":[0,8])",
                         R"([8],"data_offsets":[18446744073709551608,18446744073709551615])")),
      CORRUPT, "'b' ends");
}

TEST_F(SafetensorsTest, AFileCutAnywhereIsAnError) {
  const std::string path = open(tiny_hf_tensors())->path();
  for (size_t size = std::filesystem::file_size(path); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    ASSERT_TRUE(throws_error([&] { ModelFile::open(path); }, Status::CORRUPT, "model.safetensors"))
        << "cut to " << size << " bytes";
  }
}

TEST_F(SafetensorsTest, AFileThatShrinksAfterOpenFailsTheRead) {
  std::unique_ptr<ModelFile> file = open(tiny_hf_tensors());
  std::filesystem::resize_file(file->path(), std::filesystem::file_size(file->path()) - 1);
  EXPECT_NO_THROW(read(*file, "token_embd.weight"));
  EXPECT_ERROR(read(*file, "output.weight"), CORRUPT, "truncated");
}

TEST_F(SafetensorsTest, AnIndexReachesNoOtherFolder) {
  json index = write_shards();
  TempFolder other;
  other.write("c.safetensors", tiny_hf_tensors().bytes());
  const std::string kOutside[] = {
      "../" + std::filesystem::path(other.path()).filename().string() + "/c.safetensors",
      other.path("c.safetensors"),
      "..",
      ".",
      "",
      "sub/a.safetensors",
      "sub\\a.safetensors",
      std::string("a.safetensors\0x", 15)};
  for (const std::string& shard : kOutside) {
    index["weight_map"]["lm_head.weight"] = shard;
    EXPECT_ERROR(open_index(index), CORRUPT, "no file beside the index") << shard;
  }
  index["weight_map"]["lm_head.weight"] = 7;
  EXPECT_ERROR(open_index(index), CORRUPT, "lm_head.weight");
}

TEST_F(SafetensorsTest, AnIndexMustAgreeWithItsShards) {
  const json index = write_shards();
  json changed = index;
  changed["weight_map"]["lm_head.weight"] = "b.safetensors";
  EXPECT_ERROR(open_index(changed), CORRUPT, "contradicts shard 'a.safetensors'");
  changed = index;
  changed["weight_map"].erase("lm_head.weight");
  EXPECT_ERROR(open_index(changed), CORRUPT, "'lm_head.weight'");
  changed = index;
  changed["weight_map"]["absent.weight"] = "a.safetensors";
  EXPECT_ERROR(open_index(changed), CORRUPT, "'absent.weight', which shard 'a.safetensors'");
  changed = index;
  changed["weight_map"]["absent.weight"] = "c.safetensors";
  EXPECT_ERROR(open_index(changed), NOT_FOUND, "c.safetensors");
  changed = index;
  changed.erase("weight_map");
  EXPECT_ERROR(open_index(changed), CORRUPT, "weight_map");
  EXPECT_ERROR(open_index(json::array()), CORRUPT, "no JSON object");
}

TEST_F(SafetensorsTest, AnIndexCutAnywhereIsAnError) {
  const std::string whole = write_shards().dump();
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_TRUE(throws_error(
        [&] {
          ModelFile::open(folder_.write("model.safetensors.index.json", whole.substr(0, size)));
        },
        Status::CORRUPT, "index.json"));
  }
}

}  // namespace
}  // namespace kvi
