#include "format/model_file.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

class ModelFileTest : public testing::Test {
 protected:
  std::string gguf_bytes() {
    return GgufWriter().add_string("general.architecture", "llama").bytes();
  }
  void write_safetensors(const char* name) {
    folder_.write("config.json", tiny_hf_config("llama").dump());
    folder_.write(name, tiny_hf_tensors().bytes());
  }
  TempFolder folder_;
};

TEST_F(ModelFileTest, AFolderIsOpenedByWhatItHolds) {
  folder_.write("model-q4.gguf", gguf_bytes());
  EXPECT_EQ(ModelFile::open(folder_.path())->format(), ModelFormat::gguf);
  write_safetensors("anything.safetensors");
  EXPECT_EQ(ModelFile::open(folder_.path())->format(), ModelFormat::safetensors);
  EXPECT_EQ(ModelFile::open(folder_.path())->path(), folder_.path());
}

TEST_F(ModelFileTest, AGgufFileNeedsNoEnding) {
  EXPECT_EQ(ModelFile::open(folder_.write("blob", gguf_bytes()))->format(), ModelFormat::gguf);
}

TEST_F(ModelFileTest, TheStandardNameWinsOverOthers) {
  write_safetensors("model.safetensors");
  write_safetensors("consolidated.safetensors");
  EXPECT_NO_THROW(ModelFile::open(folder_.path()));
}

TEST_F(ModelFileTest, SeveralModelsInAFolderMustBeNamed) {
  folder_.write("a.gguf", gguf_bytes());
  folder_.write("b.gguf", gguf_bytes());
  EXPECT_ERROR(ModelFile::open(folder_.path()), INVALID_ARGUMENT, "'a.gguf' and 'b.gguf'");
}

TEST_F(ModelFileTest, FoldersWithoutAModelAreRefused) {
  EXPECT_ERROR(ModelFile::open(folder_.path()), NOT_FOUND, "no .safetensors");
  folder_.write("pytorch_model.bin", "PK\x03\x04 and so on");
  EXPECT_ERROR(ModelFile::open(folder_.path()), UNSUPPORTED, "convert it to safetensors");
}

TEST_F(ModelFileTest, SafetensorsNeedTheirConfig) {
  const std::string path = folder_.write("model.safetensors", tiny_hf_tensors().bytes());
  EXPECT_ERROR(ModelFile::open(path), NOT_FOUND, "config.json");
}

TEST_F(ModelFileTest, OtherFormatsAreRefusedWithAdvice) {
  auto open = [&](std::string bytes) {
    bytes.resize(64);
    ModelFile::open(folder_.write("model.bin", bytes));
  };
  EXPECT_ERROR(open("PK\x03\x04"), UNSUPPORTED, "convert it to safetensors");
  EXPECT_ERROR(open("\x80\x02"), UNSUPPORTED, "convert it to safetensors");
  EXPECT_ERROR(open("lmgg"), UNSUPPORTED, "older than GGUF");
  EXPECT_ERROR(open("tjgg"), UNSUPPORTED, "older than GGUF");
  EXPECT_ERROR(open("ggml model"), CORRUPT, "'ggml mod'");
  EXPECT_ERROR(open("<html><body>"), CORRUPT, "neither a GGUF");
  EXPECT_ERROR(open(""), CORRUPT, "\\x00");
}

TEST_F(ModelFileTest, PathsThatAreNoFileAreRefused) {
  EXPECT_ERROR(ModelFile::open(folder_.path("absent.gguf")), NOT_FOUND, "absent.gguf");
  EXPECT_ERROR(ModelFile::open(""), NOT_FOUND, "''");
  EXPECT_ERROR(ModelFile::open("/dev/null"), INVALID_ARGUMENT, "regular file");
  EXPECT_ERROR(ModelFile::open(std::string("a\0b", 3)), INVALID_ARGUMENT, "NUL");
  EXPECT_ERROR(ModelFile::open(folder_.write("empty.gguf", "")), CORRUPT, "0 bytes");
}

}  // namespace
}  // namespace kvi
