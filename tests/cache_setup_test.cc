#include "engine/cache_setup.h"

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

std::shared_ptr<const LoadedModel> tiny_llama() {
  return LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf", {});
}

struct Answer {
  std::vector<float> logprobs;
  uint32_t cached_tokens;
};

Answer answer(const std::shared_ptr<const LoadedModel>& model, const EngineOptions& options) {
  const std::shared_ptr<Engine> engine = Engine::create(model, options);
  const std::shared_ptr<Session> session = engine->create_session();
  const std::vector<TokenId> prompt(100, 7);
  const Part part = std::span<const TokenId>(prompt);
  session->append({&part, 1});
  GenerateOptions generate;
  generate.max_tokens = 1;
  generate.top_logprobs = 0;
  generate.ignore_eos = true;
  const std::shared_ptr<Request> request = session->generate(generate, nullptr);
  request->await(std::nullopt);
  Answer answer = {std::vector<float>(1), request->usage().cached_tokens};
  request->tokens(0, {}, answer.logprobs);
  if (options.disk_cache_bytes > 0) session->suspend(TierId::disk);
  engine->close(std::nullopt);
  return answer;
}

// Over one disk folder: K and V of exact activations would not be those that quantized ones give.
TEST(CacheSetupTest, EnginesOfOtherActivationsDoNotFindEachOthersPages) {
  const std::shared_ptr<const LoadedModel> model = tiny_llama();
  const TempFolder folder;
  EngineOptions exact;
  exact.num_threads = 1;
  exact.precision = Precision::f32_activations;
  EngineOptions quantized = exact;
  quantized.precision = Precision::int8_activations;
  const Answer cold = answer(model, quantized);
  EXPECT_NE(numerics_id(*model, exact), numerics_id(*model, quantized));

  exact.disk_cache_folder = quantized.disk_cache_folder = folder.path("cache");
  exact.disk_cache_bytes = quantized.disk_cache_bytes = 16 << 20;
  EXPECT_EQ(answer(model, exact).cached_tokens, 0u);
  const Answer other = answer(model, quantized);
  EXPECT_EQ(other.cached_tokens, 0u);
  EXPECT_EQ(other.logprobs, cold.logprobs);
}

}  // namespace
}  // namespace kvi
