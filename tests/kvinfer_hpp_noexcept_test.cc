// The C++17 wrapper where exceptions are off: every call has a try_ form.
#include <gtest/gtest.h>

#include <kvinfer/kvinfer.hpp>
#include <string>
#include <vector>

#if defined(__cpp_exceptions)
#error "this test is compiled with -fno-exceptions"
#endif

namespace {

const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";

TEST(KvinferHppNoexcept, ResultsHoldTheValueOrTheError) {
  auto missing = kvinfer::Engine::try_open("/no/such/model.gguf");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().status(), kvinfer::Status::NOT_FOUND);
  EXPECT_FALSE(missing.error().message().empty());

  auto engine = kvinfer::Engine::try_open(
      kModelPath, kvinfer::EngineOptions().num_threads(1).kv_budget_bytes(8u << 20));
  ASSERT_TRUE(engine);
  auto session = engine->try_session();
  ASSERT_TRUE(session);
  ASSERT_TRUE(session->try_append("once upon a time"));
  EXPECT_FALSE(session->try_append("\xff"));
  auto stream = session->try_generate(kvinfer::GenerateOptions::greedy(12).ignore_eos());
  ASSERT_TRUE(stream);
  std::string text;
  for (;;) {
    auto chunk = stream->try_next();
    ASSERT_TRUE(chunk);
    if (!*chunk) break;
    text += (*chunk)->text();
  }
  EXPECT_EQ(text, stream->text());
  EXPECT_EQ(stream->finish(), kvinfer::Finish::length);
}

TEST(KvinferHppNoexcept, TheCacheIsSteeredWithoutExceptions) {
  auto budget = kvinfer::Budget::try_create(8u << 20);
  ASSERT_TRUE(budget);
  auto engine = kvinfer::Engine::try_open(kModelPath, kvinfer::EngineOptions()
                                                          .num_threads(1)
                                                          .kv_budget_bytes(8u << 20)
                                                          .shared_budget(*budget)
                                                          .cache_events(8));
  ASSERT_TRUE(engine);
  EXPECT_EQ(budget->try_info()->num_engines, 1u);
  EXPECT_TRUE(budget->try_set_limit(4u << 20));
  const std::vector<int32_t> tokens(40, 7);
  const auto none = engine->try_pin("a", tokens);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().status(), kvinfer::Status::NOT_FOUND);
  auto prefix = engine->try_preload("a", tokens);
  ASSERT_TRUE(prefix);
  EXPECT_EQ(prefix->try_info()->num_tokens, 40u);
  EXPECT_EQ(engine->try_probe("a", tokens)->first_miss(), 40u);
  EXPECT_EQ(*engine->try_prefetch("a", tokens), 32u);
  EXPECT_TRUE(engine->try_evict("a", tokens));
  EXPECT_TRUE(engine->try_clear_cache());
  EXPECT_EQ(engine->try_cache_stats()->num_pins, 1u);
  EXPECT_GT(engine->try_tier_stats(kvinfer::Tier::device)->pinned_bytes, 0u);
  EXPECT_GE(engine->try_cache_events()->size(), 2u);
  EXPECT_TRUE(engine->try_set_budget(4u << 20));
  EXPECT_TRUE(engine->try_trim(0));
  auto session = engine->try_session();
  ASSERT_TRUE(session);
  const auto refused = session->try_suspend(kvinfer::Tier::host);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status(), kvinfer::Status::UNSUPPORTED);
  EXPECT_TRUE(session->try_resume());
}

}  // namespace
