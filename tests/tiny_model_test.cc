// The logits of tiny random models of every family, RoPE variant and block format against
// transformers in fp32 on the same weights, through the C ABI.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "support/golden.h"
#include "support/scoring_model.h"

namespace kvi {
namespace {

const std::string kData = KVINFER_TEST_DATA;

// Folders and GGUF files below tests/models/tiny, by name.
std::vector<std::string> tiny_models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kData + "/models/tiny")) {
    if (entry.is_directory() || entry.path().extension() == ".gguf") {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

void expect_logits_of_the_reference(const std::string& name, int32_t backend) {
  const std::string path = kData + "/models/tiny/" + name;
  const TinyGoldens goldens = read_tiny_goldens(
      std::filesystem::is_directory(path) ? path + "/goldens.bin"
                                          : path.substr(0, path.size() - 5) + ".goldens.bin");
  ScoringModel model(path, backend);
  model.create_engine(KVI_ACTIVATIONS_F32);
  ASSERT_EQ(model.vocab_size(), static_cast<size_t>(goldens.vocab_size));

  for (const TinyGolden& golden : goldens.prompts) {
    std::vector<int32_t> tokens = golden.prompt;
    tokens.push_back(0);  // so that the last position is scored too
    const std::vector<float> logits = model.logits(tokens, 1);
    float largest = 0, difference = 0;
    for (size_t i = 0; i < golden.positions.size(); ++i) {
      const float* found = &logits[golden.positions[i] * model.vocab_size()];
      for (size_t token = 0; token < model.vocab_size(); ++token) {
        ASSERT_TRUE(std::isfinite(found[token])) << "position " << golden.positions[i];
        largest = std::max(largest, std::abs(golden.logits[i][token]));
        difference = std::max(difference, std::abs(golden.logits[i][token] - found[token]));
      }
    }
    // Most of it comes from rounding K and V to f16 in the pages.
    EXPECT_LE(difference, 1e-3f * largest) << "in the prompt of " << golden.prompt.size();
    std::printf("off by %.2g of the largest logit\n", difference / largest);
  }
}

class TinyModelTest : public testing::TestWithParam<std::string> {};

TEST_P(TinyModelTest, LogitsOnTheExactPathAreTheReferences) {
  expect_logits_of_the_reference(GetParam(), KVI_BACKEND_CPU);
}

TEST_P(TinyModelTest, LogitsOfTheGpuAreTheReferences) {
  uint32_t num_gpus = 0;
  for (uint32_t index = 1; index < kvi_device_count(); ++index) {
    kvi_device_info info;
    kvi_device_info_init(&info, sizeof info);
    kvi_device_get_info(index, &info, nullptr);
    num_gpus += info.supported;
  }
  if (num_gpus == 0) GTEST_SKIP() << "there is no GPU that the library can use";
  expect_logits_of_the_reference(GetParam(), KVI_BACKEND_CUDA);
}

INSTANTIATE_TEST_SUITE_P(Families, TinyModelTest, testing::ValuesIn(tiny_models()),
                         [](const testing::TestParamInfo<std::string>& model) {
                           std::string name = model.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

}  // namespace
}  // namespace kvi
