// Model files with fields set to what an attacker or a broken disk would set them to: each opens as a
// sound model or is refused, and no claim in it makes the library allocate much.

#include <gtest/gtest.h>

#include <cstring>
#include <iterator>
#include <random>

#include "base/error.h"
#include "format/model_file.h"
#include "support/allocation_watch.h"
#include "support/exercise_model.h"
#include "support/gguf_writer.h"
#include "support/memory_file.h"
#include "support/safetensors_writer.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

using nlohmann::ordered_json;

// The files have a few kilobytes; the rest is room for buffers and the JSON parser.
constexpr size_t kMaxAllocation = 1 << 20;

using Random = std::mt19937_64;

uint64_t below(Random& random, uint64_t bound) { return random() % bound; }

template <typename Container>
auto& pick(Random& random, Container& items) {
  return items[below(random, std::size(items))];
}

// Numbers at the edges of what a reader may get wrong, and some near the true one.
uint64_t odd_number(Random& random, uint64_t truth) {
  const uint64_t kOdd[] = {0,  1,  2,  3,  4,  5,  7,   8,   9,    10,    12,
                           13, 16, 31, 32, 33, 64, 255, 256, 4096, 65535, 65536};
  switch (below(random, 8)) {
    case 0: return truth + 1;
    case 1: return truth - 1;
    case 2: return truth * 2;
    case 3: return truth ^ uint64_t { 1 } << below(random, 64);
    case 4: return (uint64_t{1} << below(random, 64)) - below(random, 3);
    case 5: return random();
    case 6: return ~below(random, 64);
    default: return pick(random, kOdd);
  }
}

void damage_bytes(Random& random, std::string& bytes) {
  switch (below(random, 6)) {
    case 0: bytes.resize(below(random, bytes.size() + 1)); break;
    case 1: bytes.erase(below(random, bytes.size()), 1 + below(random, 16)); break;
    case 2:
      bytes.insert(below(random, bytes.size()), 1 + below(random, 16), static_cast<char>(random()));
      break;
    case 3: bytes += bytes.substr(below(random, bytes.size())); break;
    default: pick(random, bytes) = static_cast<char>(random()); break;
  }
  if (bytes.empty()) bytes = "G";
}

// Opens and uses the file. Whether it was sound is counted; anything but an Error about the file fails.
class Judge {
 public:
  explicit Judge(std::string what) : what_(std::move(what)) {}

  void open(const std::string& path, uint64_t case_number) {
    reset_largest_allocation();
    try {
      exercise_model(*ModelFile::open(path));
      ++num_sound_;
    } catch (const Error& error) {
      ++num_refused_;
      EXPECT_TRUE(error.status() == Status::CORRUPT || error.status() == Status::UNSUPPORTED ||
                  error.status() == Status::NOT_FOUND)
          << "case " << case_number << ": " << error.message();
      EXPECT_LT(error.message().size(), 2000u) << "case " << case_number;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "case " << case_number << ": " << error.what();
    }
    EXPECT_LT(largest_allocation(), kMaxAllocation) << "case " << case_number;
  }

  // A mutation test that always meets the first check, or never any, tests nothing.
  ~Judge() {
    std::printf("%s: %d opened, %d refused\n", what_.c_str(), num_sound_, num_refused_);
    EXPECT_GT(num_sound_, 0);
    EXPECT_GT(num_refused_, num_sound_ / 10);
  }

 private:
  std::string what_;
  int num_sound_ = 0, num_refused_ = 0;
};

TEST(ModelMutationTest, GgufFilesOpenAsSoundOrAreRefused) {
  Random random(test_seed());
  std::vector<GgufField> fields;
  const std::string valid = gguf_with_everything().bytes(&fields);
  MemoryFile file;
  Judge judge("gguf");
  for (uint64_t i = 0; i < 20000; ++i) {
    std::string bytes = valid;
    for (uint64_t n = 1 + below(random, 3); n > 0; --n) {
      const GgufField& field = pick(random, fields);
      uint64_t value = 0;
      std::memcpy(&value, valid.data() + field.offset, field.size);
      value = odd_number(random, value);
      if (below(random, 8) ==
          0) {  // the value of another field, such as a duplicate name or offset
        std::memcpy(&value, valid.data() + pick(random, fields).offset, field.size);
      }
      std::memcpy(bytes.data() + field.offset, &value, field.size);
    }
    if (below(random, 4) == 0) damage_bytes(random, bytes);
    file.write(bytes);
    judge.open(file.path(), i);
    if (HasFailure()) break;
  }
}

// Replaces one value somewhere in the tree.
void mutate_json(Random& random, ordered_json& value) {
  if (value.is_structured() && !value.empty() && below(random, 8) != 0) {
    auto child = value.begin();
    std::advance(child, static_cast<int64_t>(below(random, value.size())));
    switch (below(random, 12)) {
      case 0: value.erase(child); return;
      case 1:
        value.is_object() ? void(value[child.key() + "2"] = *child) : value.push_back(*child);
        return;
      default: mutate_json(random, *child); return;
    }
  }
  const uint64_t truth = value.is_number_unsigned() ? value.get<uint64_t>() : below(random, 64);
  switch (below(random, 12)) {
    case 0: value = nullptr; break;
    case 1: value = -static_cast<int64_t>(truth); break;
    case 2: value = static_cast<double>(truth) + 0.5; break;
    case 3: value = std::to_string(truth); break;
    case 4: value = ordered_json::array({truth, truth}); break;
    case 5: value = {{"dtype", "F32"}}; break;
    case 6: {
      static const char* const kWords[] = {"F32",  "F16",  "BF16",         "F64",  "I64", "llama",
                                           "gpt2", "yarn", "__metadata__", "../x", ""};
      value = pick(random, kWords);
      break;
    }
    case 7: value = below(random, 2) == 0; break;
    default: value = odd_number(random, truth); break;
  }
}

class SafetensorsMutationTest : public testing::TestWithParam<const char*> {
 protected:
  static ordered_json config() {
    ordered_json config = tiny_hf_config(GetParam());
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 32}};
    config["eos_token_id"] = {2, 3};
    config["layer_types"] = {"full_attention", "full_attention"};
    return config;
  }
  static SafetensorsWriter tensors() {
    if (std::string_view(GetParam()) != "gpt2") return tiny_hf_tensors();
    SafetensorsWriter writer;
    writer.add("wte.weight", "F16", {16, 8}).add("h.0.attn.c_attn.weight", "F16", {8, 24});
    writer.add("h.0.attn.c_attn.bias", "F16", {24}).add("h.0.attn.bias", "BOOL", {1, 1, 4, 4});
    return writer;
  }
  TempFolder folder_;
};

class HeaderMutationTest : public SafetensorsMutationTest {};
class ConfigMutationTest : public SafetensorsMutationTest {};

TEST_P(HeaderMutationTest, FilesOpenAsSoundOrAreRefused) {
  Random random(test_seed());
  const SafetensorsWriter valid = tensors();
  const std::string valid_bytes = valid.bytes();
  folder_.write("config.json", config().dump());
  Judge judge("safetensors");
  for (uint64_t i = 0; i < 2000; ++i) {
    SafetensorsWriter writer = valid;
    ordered_json header = ordered_json::parse(
        valid_bytes.substr(8, valid_bytes.size() - 8 - writer.data().size()));
    for (uint64_t n = 1 + below(random, 2); n > 0; --n) mutate_json(random, header);
    writer.header = header.dump();
    if (below(random, 16) == 0) writer.header_bytes = odd_number(random, writer.header->size());
    std::string bytes = below(random, 4) == 0 ? valid_bytes : writer.bytes();
    if (below(random, 4) == 0) damage_bytes(random, bytes);
    judge.open(folder_.write("model.safetensors", bytes), i);
    if (HasFailure()) break;
  }
}

TEST_P(ConfigMutationTest, FoldersOpenAsSoundOrAreRefused) {
  Random random(test_seed());
  const std::string model = folder_.write("model.safetensors", tensors().bytes());
  Judge judge("config.json");
  for (uint64_t i = 0; i < 2000; ++i) {
    ordered_json changed = config();
    for (uint64_t n = 1 + below(random, 2); n > 0; --n) mutate_json(random, changed);
    std::string text = changed.dump();
    if (below(random, 8) == 0) damage_bytes(random, text);
    folder_.write("config.json", text);
    judge.open(model, i);
    if (HasFailure()) break;
  }
}

std::string family_name(const testing::TestParamInfo<const char*>& info) { return info.param; }

// GPT-2 is the one whose tensors are transposed.
INSTANTIATE_TEST_SUITE_P(Families, HeaderMutationTest, testing::Values("llama", "gpt2"),
                         family_name);
INSTANTIATE_TEST_SUITE_P(Families, ConfigMutationTest,
                         testing::Values("llama", "mistral", "qwen2", "gemma3_text", "gpt2"),
                         family_name);

TEST(ModelMutationTest, IndexesOpenAsSoundOrAreRefused) {
  Random random(test_seed());
  TempFolder folder;
  folder.write("config.json", tiny_hf_config("llama").dump());
  const SafetensorsWriter whole = tiny_hf_tensors();
  folder.write("a.safetensors", whole.bytes());
  ordered_json index = {{"weight_map", ordered_json::object()}};
  for (const std::string& name : whole.names()) index["weight_map"][name] = "a.safetensors";
  Judge judge("index");
  for (uint64_t i = 0; i < 1000; ++i) {
    ordered_json changed = index;
    changed["metadata"] = {{"total_size", 1}};
    mutate_json(random, changed);
    judge.open(folder.write("m.safetensors.index.json", changed.dump()), i);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace kvi
