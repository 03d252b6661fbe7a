// Real models through save and reload in another process: a text of some pages, longer than the windows of Gemma 3.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "support/real_models.h"
#include "support/snapshot_process.h"

namespace kvi {
namespace {

class SnapshotModelTest : public testing::TestWithParam<const char*> {};

TEST_P(SnapshotModelTest, ColdSavedAndReloadedInAnotherProcessGiveTheSameBits) {
  const std::string path = real_model_path(GetParam());
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  std::ifstream file(std::string(KVINFER_TEST_DATA) + "/../ARCHITECTURE.md");
  const std::string text = std::string(std::istreambuf_iterator<char>(file), {}).substr(0, 5000);
  ASSERT_EQ(text.size(), 5000u);
  kvi_model_options options;
  kvi_model_options_init(&options, sizeof options);
  options.load = KVI_LOAD_METADATA;
  kvi_model* model = nullptr;
  ASSERT_EQ(kvi_model_open(path.data(), path.size(), &options, &model, nullptr), KVI_OK);
  std::vector<int32_t> prompt(5000);
  size_t count = 0;
  const kvi_status status = kvi_tokenize(model, text.data(), text.size(), KVI_BOS_AUTO,
                                         KVI_SPECIAL_NO, prompt.data(), prompt.size(), &count,
                                         nullptr);
  kvi_model_release(model);
  ASSERT_EQ(status, KVI_OK);
  prompt.resize(count);
  EXPECT_GT(count, 1000u);
  expect_reload_is_bitwise_equal(path, prompt);
}

INSTANTIATE_TEST_SUITE_P(Models, SnapshotModelTest, testing::Values(kSmolLm2, kGemma3),
                         [](const auto& info) {
                           return std::string(info.param == std::string(kSmolLm2) ? "smollm2"
                                                                                  : "gemma3");
                         });

}  // namespace
}  // namespace kvi
