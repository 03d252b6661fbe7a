// The C++17 wrapper, with exceptions: the shape that programs have.
#include <gtest/gtest.h>

#include <kvinfer/kvinfer.hpp>
#include <string>
#include <vector>

namespace {

const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";

kvinfer::EngineOptions small_engine() {
  return kvinfer::EngineOptions().num_threads(1).kv_budget_bytes(8u << 20);
}

kvinfer::GenerateOptions greedy(uint32_t max_tokens) {
  return kvinfer::GenerateOptions::greedy(max_tokens).ignore_eos();
}

TEST(KvinferHpp, ChunksOfAStreamMakeUpItsText) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once upon a time");
  const size_t prompt_len = session.tokens().size();
  auto stream = session.generate(greedy(24));
  std::string text;
  for (const auto& chunk : stream) text += chunk.text();
  EXPECT_EQ(text, stream.text());
  EXPECT_EQ(stream.finish(), kvinfer::Finish::length);
  EXPECT_EQ(stream.tokens().size(), 24u);
  EXPECT_EQ(stream.usage().prompt_tokens, prompt_len);
  EXPECT_EQ(session.tokens().size(), prompt_len + 24);
}

TEST(KvinferHpp, ADestroyedStreamKeepsWhatWasMadeAndFreesItsSession) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const size_t before = session.tokens().size();
  {
    auto stream = session.generate(greedy(200));
    ASSERT_TRUE(stream.next());
  }
  EXPECT_GT(session.tokens().size(), before);  // and not BUSY
  session.truncate(static_cast<uint32_t>(before));
  EXPECT_EQ(session.tokens().size(), before);
}

TEST(KvinferHpp, ARolledBackStreamLeavesTheSessionAsItWas) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const auto before = session.tokens();
  auto stream = session.generate(greedy(250));
  stream.roll_back();
  while (stream.next()) continue;
  if (stream.finish() == kvinfer::Finish::cancelled) {
    EXPECT_EQ(session.tokens(), before);
  } else {
    EXPECT_EQ(stream.finish(), kvinfer::Finish::length);
  }
}

TEST(KvinferHpp, ErrorsCarryStatusAmountsAndWords) {
  try {
    kvinfer::Engine::open("/no/such/model.gguf");
    FAIL();
  } catch (const kvinfer::Error& error) {
    EXPECT_EQ(error.status(), kvinfer::Status::NOT_FOUND);
    EXPECT_STREQ(error.status_name(), "NOT_FOUND");
    EXPECT_NE(error.message().find("/no/such/model.gguf"), std::string::npos);
    EXPECT_FALSE(error.retryable());
  }
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  try {
    session.append(std::vector<int32_t>(1000, 1));
    FAIL();
  } catch (const kvinfer::Error& error) {
    EXPECT_EQ(error.status(), kvinfer::Status::CONTEXT_FULL);
    EXPECT_EQ(error.needed(), 1000u);
    EXPECT_EQ(error.available(), 256u);
  }
}

TEST(KvinferHpp, TokensDecodeToTheirTextAtOnceAndInAStream) {
  auto model = kvinfer::Model::open(kModelPath, kvinfer::ModelOptions().metadata_only());
  const std::string text = "h\u00e9llo \U0001f600 the world";
  const auto tokens = model.tokenize(text, kvinfer::AddBos::no);
  EXPECT_EQ(model.detokenize(tokens), text);
  auto decoder = model.decoder();
  std::string streamed;
  for (int32_t token : tokens) streamed += decoder.push(token);
  streamed += decoder.finish();
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(model.text(KVI_MODEL_ARCHITECTURE), "llama");
  EXPECT_EQ(model.metadata_value("llama.block_count"), "2");
}

TEST(KvinferHpp, AForkGoesItsOwnWay) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once upon");
  auto fork = session.fork();
  fork.append(" a time");
  EXPECT_GT(fork.tokens().size(), session.tokens().size());
  auto a = session.generate(greedy(8));
  auto b = fork.generate(greedy(8));  // beside each other
  while (a.next()) continue;
  while (b.next()) continue;
  EXPECT_EQ(a.tokens().size(), 8u);
  EXPECT_EQ(b.tokens().size(), 8u);
}

TEST(KvinferHpp, LogprobsAndScoresAreTheSameNumbers) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  auto stream = session.generate(greedy(6).top_logprobs(3));
  while (stream.next()) continue;
  const auto logprobs = stream.logprobs();
  const auto all = session.tokens();
  const auto scores = engine.score(all, all.size() - 6);
  EXPECT_EQ(scores.logprobs, logprobs);
  EXPECT_EQ(scores.top1, stream.tokens());
  ASSERT_EQ(stream.top_logprobs(0).size(), 3u);
  EXPECT_EQ(stream.top_logprobs(0)[0].token, stream.tokens()[0]);
}

TEST(KvinferHpp, AProgressFunctionAbortsLoading) {
  uint64_t seen = 0;
  const auto options = kvinfer::ModelOptions().progress([&](uint64_t, uint64_t total) {
    seen = total;
    return false;
  });
  auto model = kvinfer::Model::try_open(kModelPath, options);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().status(), kvinfer::Status::CANCELLED);
  EXPECT_GT(seen, 0u);
}

}  // namespace
