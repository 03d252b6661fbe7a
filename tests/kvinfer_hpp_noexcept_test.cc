// The C++17 wrapper where exceptions are off: every call has a try_ form.
#include <gtest/gtest.h>

#include <kvinfer/kvinfer.hpp>
#include <string>

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

}  // namespace
