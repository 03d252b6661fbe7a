#include "format/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/expect_error.h"
#include "support/gguf_writer.h"
#include "support/real_models.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

class GgufTest : public testing::Test {
 protected:
  std::unique_ptr<ModelFile> open(const std::string& bytes) {
    return ModelFile::open(folder_.write("model.gguf", bytes));
  }
  std::unique_ptr<ModelFile> open(const GgufWriter& writer) { return open(writer.bytes()); }

  static std::string read(const ModelFile& file, std::string_view name) {
    const TensorInfo& tensor = *file.find(name);
    std::string bytes(tensor.size_bytes, '\0');
    file.read_rows(tensor, 0, tensor.rows, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }

  // A small file with every kind of metadata and three tensors.
  static GgufWriter valid() {
    GgufWriter writer;
    writer.add_string("general.architecture", "llama")
        .add_u32("llama.block_count", 2)
        .add_f32("llama.rope.freq_base", 10000)
        .add_bool("tokenizer.ggml.add_bos_token", true)
        .add_strings("tokenizer.ggml.tokens", {"a", "", "\xff\xfe"})
        .add_floats("tokenizer.ggml.scores", {0.5f, -1, 0})
        .add_ints("tokenizer.ggml.token_type", {1, -3, 6})
        .add_tensor("token_embd.weight", DType::Q8_0, {64, 5})
        .add_tensor("output_norm.weight", DType::F32, {7})
        .add_tensor("blk.0.ffn_up_exps.weight", DType::F16, {3, 2, 4});
    return writer;
  }

  // One tensor that a test gets wrong.
  static GgufWriter::Tensor f32_tensor(std::vector<uint64_t> dims) {
    return {"bad.weight", std::move(dims), 0, std::string(64, '\0'), {}, {}};
  }

  TempFolder folder_;
};

TEST_F(GgufTest, MetadataAndTensorsComeBackAsWritten) {
  std::unique_ptr<ModelFile> file = open(valid());
  EXPECT_EQ(file->format(), ModelFormat::gguf);
  EXPECT_EQ(file->path(), folder_.path("model.gguf"));
  EXPECT_EQ(file->tokenizer_json(), "");
  const Metadata& metadata = file->metadata();
  EXPECT_EQ(metadata.get_string("general.architecture"), "llama");
  EXPECT_EQ(metadata.get_int("llama.block_count"), 2);
  EXPECT_EQ(metadata.get_float("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(metadata.find_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(*metadata.find_strings("tokenizer.ggml.tokens"),
            (std::vector<std::string>{"a", "", "\xff\xfe"}));
  EXPECT_EQ(*metadata.find_floats("tokenizer.ggml.scores"), (std::vector<double>{0.5, -1, 0}));
  EXPECT_EQ(*metadata.find_ints("tokenizer.ggml.token_type"), (std::vector<int64_t>{1, -3, 6}));

  ASSERT_EQ(file->tensors().size(), 3u);
  const TensorInfo& embedding = *file->find("token_embd.weight");
  EXPECT_EQ(embedding.dtype, DType::Q8_0);
  EXPECT_EQ(embedding.rows, 5);
  EXPECT_EQ(embedding.cols, 64);
  EXPECT_EQ(embedding.size_bytes, 5u * 68);
  EXPECT_EQ(file->find("output_norm.weight")->rows, 1);
  EXPECT_EQ(file->find("blk.0.ffn_up_exps.weight")->rows, 8);  // experts stacked
  EXPECT_EQ(file->find("absent"), nullptr);
  EXPECT_EQ(file->size_bytes(), 5u * 68 + 7 * 4 + 24 * 2);
}

TEST_F(GgufTest, RowsAreReadFromTheirPlace) {
  std::unique_ptr<ModelFile> file = open(valid());
  const TensorInfo& tensor = *file->find("blk.0.ffn_up_exps.weight");
  const std::string all = read(*file, tensor.name);
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<char>(2 + i * 7));
  for (int64_t first = 0; first < tensor.rows; ++first) {
    for (int64_t count = 0; first + count <= tensor.rows; ++count) {
      std::string rows(static_cast<size_t>(count) * 6, '\0');
      file->read_rows(tensor, first, count, std::as_writable_bytes(std::span(rows)));
      ASSERT_EQ(rows, all.substr(static_cast<size_t>(first) * 6, rows.size()));
    }
  }
}

TEST_F(GgufTest, RowsOutsideATensorAreABug) {
  std::unique_ptr<ModelFile> file = open(valid());
  const TensorInfo& tensor = *file->find("token_embd.weight");
  std::vector<std::byte> rows(68 * 2);
  EXPECT_ERROR(file->read_rows(tensor, 4, 2, rows), INTERNAL, "num_rows");
  EXPECT_ERROR(file->read_rows(tensor, -1, 2, rows), INTERNAL, "first_row");
  EXPECT_ERROR(file->read_rows(tensor, 0, 1, rows), INTERNAL, "dst.size()");
}

TEST_F(GgufTest, IntegersOfEveryWidthAreRead) {
  GgufWriter writer;
  auto bytes_of = [](auto value) {
    std::string bytes;
    append_raw(bytes, value);
    return bytes;
  };
  auto array_of = [&](uint32_t type, auto value) {
    return bytes_of(type) + bytes_of(uint64_t{2}) + bytes_of(value) + bytes_of(value);
  };
  auto add = [&](const std::string& key, GgufType type, auto value) {
    writer.add_raw(key, static_cast<uint32_t>(type), bytes_of(value));
    writer.add_raw(key + "s", 9, array_of(static_cast<uint32_t>(type), value));
  };
  add("u8", GgufType::u8, uint8_t{200});
  add("i8", GgufType::i8, int8_t{-100});
  add("u16", GgufType::u16, uint16_t{60000});
  add("i16", GgufType::i16, int16_t{-30000});
  add("u32", GgufType::u32, uint32_t{4000000000});
  add("i32", GgufType::i32, int32_t{-2000000000});
  add("u64", GgufType::u64, uint64_t{1} << 62);
  add("i64", GgufType::i64, INT64_MIN);
  writer.add_raw("huge", static_cast<uint32_t>(GgufType::u64), bytes_of(UINT64_MAX));
  writer.add_raw("f64", static_cast<uint32_t>(GgufType::f64), bytes_of(1e300));
  writer.add_raw("f64s", 9, array_of(12, 1e300));
  writer.add_raw("bools", 9, array_of(7, uint8_t{1}));
  std::unique_ptr<ModelFile> file = open(writer);
  const std::pair<const char*, int64_t> kExpected[] = {{"u8", 200},
                                                       {"i8", -100},
                                                       {"u16", 60000},
                                                       {"i16", -30000},
                                                       {"u32", 4000000000},
                                                       {"i32", -2000000000},
                                                       {"u64", int64_t{1} << 62},
                                                       {"i64", INT64_MIN}};
  for (auto [key, value] : kExpected) {
    EXPECT_EQ(file->metadata().get_int(key), value) << key;
    EXPECT_EQ(*file->metadata().find_ints(std::string(key) + "s"),
              (std::vector<int64_t>{value, value}));
  }
  EXPECT_EQ(std::get<uint64_t>(file->metadata().all().at("huge")), UINT64_MAX);
  EXPECT_EQ(file->metadata().get_float("f64"), 1e300);
  EXPECT_EQ(file->metadata().find_floats("f64s")->at(1), 1e300);
  EXPECT_EQ(*file->metadata().find_bools("bools"), (std::vector<bool>{true, true}));
}

TEST_F(GgufTest, VersionTwoReadsTheSame) {
  GgufWriter writer = valid();
  writer.version = 2;
  EXPECT_EQ(open(writer)->tensors().size(), 3u);
}

TEST_F(GgufTest, TheAlignmentKeyIsFollowed) {
  for (uint32_t alignment : {1u, 8u, 64u, 4096u}) {
    GgufWriter writer = valid();
    writer.alignment = alignment;
    writer.add_u32("general.alignment", alignment);
    std::unique_ptr<ModelFile> file = open(writer);
    EXPECT_EQ(read(*file, "output_norm.weight")[0], 1) << alignment;
    EXPECT_EQ(read(*file, "blk.0.ffn_up_exps.weight")[1], 9) << alignment;
  }
}

TEST_F(GgufTest, AFileWithoutTensorsIsAVocabulary) {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  EXPECT_TRUE(open(writer)->tensors().empty());
}

TEST_F(GgufTest, AnEmptyFileIsRefused) { EXPECT_ERROR(open(""), CORRUPT, "0 bytes"); }

TEST_F(GgufTest, OtherVersionsAreNamed) {
  GgufWriter writer = valid();
  for (uint32_t version : {0u, 1u, 4u, 999u}) {
    writer.version = version;
    EXPECT_ERROR(open(writer), UNSUPPORTED, "version " + std::to_string(version));
  }
  writer.version = 3u << 24;
  EXPECT_ERROR(open(writer), UNSUPPORTED, "big endian");
}

TEST_F(GgufTest, CountsPastTheFileAreRefused) {
  for (uint64_t count : {uint64_t{100}, uint64_t{1} << 32, uint64_t{1} << 61, UINT64_MAX}) {
    GgufWriter keys = valid(), tensors = valid();
    keys.num_keys = count;
    tensors.num_tensors = count;
    EXPECT_ERROR(open(keys), CORRUPT, "");
    EXPECT_ERROR(open(tensors), CORRUPT, "");
  }
}

TEST_F(GgufTest, CountsThatOnlyAHugeFileCouldHoldAreUnsupported) {
  GgufWriter writer;
  writer.num_keys = (1 << 20) + 1;
  std::string bytes = writer.bytes();
  bytes.resize(bytes.size() + (20 << 20));
  EXPECT_ERROR(open(bytes), UNSUPPORTED, "1048577");
}

TEST_F(GgufTest, HeadersLargerThanAnyModelsAreUnsupported) {
  constexpr uint64_t kLength = 60 << 20;
  const std::string path = folder_.write("model.gguf", GgufWriter{}.bytes());
  std::ofstream out(path, std::ios::binary | std::ios::in | std::ios::out);
  out.seekp(16);
  std::string bytes;
  append_raw(bytes, uint64_t{3});  // keys
  for (char key : {'a', 'b', 'c'}) {
    append_raw(bytes, uint64_t{1});
    bytes += key;
    append_raw(bytes, static_cast<uint32_t>(GgufType::string));
    append_raw(bytes, kLength);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.seekp(kLength, std::ios::cur);  // a hole: the file takes no room on the disk
    bytes.clear();
  }
  out.close();
  std::filesystem::resize_file(path, 3 * kLength + 1000);
  EXPECT_ERROR(ModelFile::open(path), UNSUPPORTED, "'c': string");
}

TEST_F(GgufTest, StringsLongerThanTheFileAreRefused) {
  for (uint64_t length : {uint64_t{1000}, uint64_t{1} << 40, UINT64_MAX}) {
    std::string value;
    append_raw(value, length);
    GgufWriter writer;
    writer.add_raw("general.name", 8, value);
    EXPECT_ERROR(open(writer), CORRUPT, "'general.name': string");
  }
}

TEST_F(GgufTest, ArraysLongerThanTheFileAreRefused) {
  for (uint32_t type = 0; type <= 12; ++type) {
    if (type == 9) continue;
    for (uint64_t count : {uint64_t{1000}, uint64_t{1} << 40, UINT64_MAX}) {
      std::string value;
      append_raw(value, type);
      append_raw(value, count);
      GgufWriter writer;
      writer.add_raw("some.array", 9, value);
      EXPECT_ERROR(open(writer), CORRUPT, "'some.array': array length");
    }
  }
}

TEST_F(GgufTest, NestedArraysAreUnsupported) {
  std::string value;
  append_raw(value, uint32_t{9});
  append_raw(value, uint64_t{0});
  GgufWriter writer;
  writer.add_raw("nested", 9, value);
  EXPECT_ERROR(open(writer), UNSUPPORTED, "'nested': an array of arrays");
}

TEST_F(GgufTest, UnknownValueTypesAreRefused) {
  for (uint32_t type : {13u, 255u, 0xffffffffu}) {
    GgufWriter scalar, array;
    scalar.add_raw("odd", type, std::string(16, '\0'));
    EXPECT_ERROR(open(scalar), CORRUPT, "'odd': value type " + std::to_string(type));
    std::string value;
    append_raw(value, type);
    append_raw(value, uint64_t{0});
    array.add_raw("odd", 9, value);
    EXPECT_ERROR(open(array), CORRUPT, "'odd': value type " + std::to_string(type));
  }
}

TEST_F(GgufTest, ABoolIsZeroOrOne) {
  GgufWriter writer;
  writer.add_raw("flag", 7, "\x02");
  EXPECT_ERROR(open(writer), CORRUPT, "'flag': a bool has the value 2");
}

TEST_F(GgufTest, DuplicateKeysAndTensorsAreRefused) {
  EXPECT_ERROR(open(valid().add_u32("llama.block_count", 3)), CORRUPT,
               "'llama.block_count': appears twice");
  EXPECT_ERROR(open(valid().add_tensor("output_norm.weight", DType::F32, {7})), CORRUPT,
               "'output_norm.weight': appears twice");
}

TEST_F(GgufTest, NamesMustBeText) {
  EXPECT_ERROR(open(GgufWriter().add_u32("", 1)), CORRUPT, "empty or not UTF-8");
  EXPECT_ERROR(open(GgufWriter().add_u32("\xc0\x80", 1)), CORRUPT, "\\xc0\\x80");
  EXPECT_ERROR(open(GgufWriter().add_tensor("\xff", DType::F32, {1})), CORRUPT, "\\xff");
}

TEST_F(GgufTest, NamesHoldNoControlCharacters) {
  for (const std::string_view key : {std::string_view("llama\0.x", 8), std::string_view("a\nb"),
                                     std::string_view("\x1b[2J"), std::string_view("\x7f")}) {
    EXPECT_ERROR(open(valid().add_u32(key, 1)), CORRUPT, "holds a control character");
    EXPECT_ERROR(open(valid().add_tensor(key, DType::F32, {1})), CORRUPT,
                 "holds a control character");
  }
  EXPECT_ERROR(open(valid().add_u32(std::string_view("llama\0.x", 8), 1)), CORRUPT,
               "'llama\\x00.x'");
  EXPECT_EQ(open(valid().add_u32("größe", 1))->metadata().get_int("größe"), 1);
}

TEST_F(GgufTest, BytesAfterThePaddingOfTheLastTensorAreRefused) {
  const std::string bytes = valid().bytes();
  EXPECT_NO_THROW(open(bytes + std::string(32, '\0')));
  EXPECT_ERROR(open(bytes + std::string(33, '\0')), CORRUPT, "33 bytes follow the last tensor");
  EXPECT_ERROR(open(bytes + bytes), CORRUPT, "end of the file");
}

TEST_F(GgufTest, AlignmentsThatAreNoPowerOfTwoAreRefused) {
  for (uint32_t alignment : {0u, 3u, 24u, 0x80000000u}) {
    EXPECT_ERROR(open(valid().add_u32("general.alignment", alignment)), CORRUPT,
                 "'general.alignment': is " + std::to_string(alignment));
  }
  EXPECT_ERROR(open(valid().add_string("general.alignment", "32")), CORRUPT, "general.alignment");
}

TEST_F(GgufTest, SplitModelsAreUnsupportedWithAdvice) {
  EXPECT_ERROR(open(valid().add_u32("split.count", 3)), UNSUPPORTED, "--merge");
}

TEST_F(GgufTest, OneToFourDimensionsArePossible) {
  for (uint32_t num_dims : {0u, 5u, 0xffffffffu}) {
    GgufWriter::Tensor tensor = f32_tensor({4, 2});
    tensor.num_dims = num_dims;
    EXPECT_ERROR(open(GgufWriter().add(tensor)), CORRUPT,
                 "'bad.weight': has " + std::to_string(num_dims) + " dimensions");
  }
}

TEST_F(GgufTest, DimensionsThatOverflowAreRefused) {
  const std::vector<std::vector<uint64_t>> kDims = {
      {0, 4},
      {4, 0},
      {UINT64_MAX},
      {uint64_t{1} << 61},
      {uint64_t{1} << 32, uint64_t{1} << 32},     // the product wraps to 0
      {uint64_t{1} << 31, uint64_t{1} << 31, 5},  // past 2^63
      {(uint64_t{1} << 62) + 1, 4},               // wraps to 4
      {16, 16, 16, uint64_t{1} << 52},
  };
  for (const std::vector<uint64_t>& dims : kDims) {
    EXPECT_ERROR(open(GgufWriter().add(f32_tensor(dims))), CORRUPT, "'bad.weight': dimension");
  }
}

TEST_F(GgufTest, SizesPastTheFileAreRefused) {
  EXPECT_ERROR(open(GgufWriter().add(f32_tensor({17}))), CORRUPT, "'bad.weight': 68 bytes");
  EXPECT_ERROR(open(GgufWriter().add(f32_tensor({uint64_t{1} << 59, 2}))), CORRUPT, "'bad.weight'");
}

TEST_F(GgufTest, OffsetsMustBeAlignedAndInTheFile) {
  for (uint64_t offset : {uint64_t{32}, uint64_t{1} << 40, ~uint64_t{31}, uint64_t{1} << 63}) {
    GgufWriter::Tensor tensor = f32_tensor({16});
    tensor.offset = offset;
    EXPECT_ERROR(open(GgufWriter().add(tensor)), CORRUPT, "at offset " + std::to_string(offset));
  }
  for (uint64_t offset : {uint64_t{1}, uint64_t{16}, UINT64_MAX}) {
    GgufWriter::Tensor tensor = f32_tensor({8});
    tensor.offset = offset;
    EXPECT_ERROR(open(GgufWriter().add(tensor)), CORRUPT, "not a multiple of the alignment 32");
  }
}

TEST_F(GgufTest, OverlappingTensorsAreBothNamed) {
  GgufWriter writer = valid();
  GgufWriter::Tensor tensor = f32_tensor({16});
  tensor.offset = 32;
  writer.add(tensor);
  EXPECT_ERROR(open(writer), CORRUPT, "'token_embd.weight'");
  EXPECT_ERROR(open(writer), CORRUPT, "'bad.weight'");
  EXPECT_ERROR(open(writer), CORRUPT, "overlap");
}

TEST_F(GgufTest, TypesAreNamedOrNumbered) {
  const std::pair<uint32_t, const char*> kTypes[] = {{20, "IQ4_NL"},
                                                     {39, "MXFP4"},
                                                     {9, "Q8_1"},
                                                     {28, "F64"},
                                                     {4, "number 4"},
                                                     {77, "number 77"},
                                                     {0xffffffff, "number 4294967295"}};
  for (auto [number, name] : kTypes) {
    GgufWriter::Tensor tensor = f32_tensor({16});
    tensor.type = number;
    EXPECT_ERROR(open(GgufWriter().add(tensor)), UNSUPPORTED,
                 "'bad.weight': type " + std::string(name));
  }
}

TEST_F(GgufTest, RowsMustBeWholeBlocks) {
  const std::pair<DType, uint64_t> kRows[] = {
      {DType::Q8_0, 48}, {DType::Q4_K, 128}, {DType::Q4_1, 31}};
  for (auto [dtype, cols] : kRows) {
    GgufWriter::Tensor tensor = f32_tensor({cols, 32});
    tensor.type = static_cast<uint32_t>(dtype);
    EXPECT_ERROR(open(GgufWriter().add(tensor)), CORRUPT, dtype_name(dtype));
  }
}

TEST_F(GgufTest, AFileCutAnywhereIsAnError) {
  const std::string path = open(valid())->path();
  for (size_t size = std::filesystem::file_size(path); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    ASSERT_TRUE(throws_error([&] { ModelFile::open(path); }, Status::CORRUPT, "model.gguf"))
        << "cut to " << size << " bytes";
  }
}

TEST_F(GgufTest, AFileThatShrinksAfterOpenFailsTheRead) {
  const std::string whole = valid().bytes();
  std::unique_ptr<ModelFile> file = open(whole);
  std::filesystem::resize_file(file->path(), whole.size() - 1);
  EXPECT_NO_THROW(read(*file, "token_embd.weight"));
  EXPECT_ERROR(read(*file, "blk.0.ffn_up_exps.weight"), CORRUPT, "truncated");
}

struct RealModel {
  const char* file_name;
  const char* architecture;
  size_t num_tensors;
  const char* tensor;
  DType dtype;
  int64_t rows, cols;
};
void PrintTo(const RealModel& model, std::ostream* out) { *out << model.file_name; }

class GgufRealModelTest : public testing::TestWithParam<RealModel> {};

TEST_P(GgufRealModelTest, OpensWithItsTensors) {
  const std::string path = real_model_path(GetParam().file_name);
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << path << " is missing; run tests/fetch_models.sh";
  std::unique_ptr<ModelFile> file = ModelFile::open(path);
  EXPECT_EQ(file->metadata().get_string("general.architecture"), GetParam().architecture);
  EXPECT_EQ(file->tensors().size(), GetParam().num_tensors);
  const TensorInfo* tensor = file->find(GetParam().tensor);
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, GetParam().dtype);
  EXPECT_EQ(tensor->rows, GetParam().rows);
  EXPECT_EQ(tensor->cols, GetParam().cols);
  EXPECT_EQ(file->metadata().find_strings("tokenizer.ggml.tokens")->size(),
            static_cast<size_t>(file->find("token_embd.weight")->rows));
  uint64_t total = 0;
  for (const TensorInfo& each : file->tensors()) total += each.size_bytes;
  EXPECT_EQ(file->size_bytes(), total);
  EXPECT_LT(total, std::filesystem::file_size(path));
}

INSTANTIATE_TEST_SUITE_P(Cached, GgufRealModelTest,
                         testing::Values(RealModel{kSmolLm2, "llama", 272, "blk.29.ffn_down.weight",
                                                   DType::Q4_1, 576, 1536},
                                         RealModel{kGemma3, "gemma3", 236, "blk.0.attn_k.weight",
                                                   DType::Q5_0, 256, 640}),
                         [](const auto& info) { return std::string(info.param.architecture); });

}  // namespace
}  // namespace kvi
