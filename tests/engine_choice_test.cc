// Tokens that the device chooses: the engine asks for them, in the place of logits, where nothing else is wanted.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "support/expect_error.h"
#include "support/watched_backend.h"

namespace kvi {
namespace {

struct Output {
  std::vector<TokenId> tokens;
  std::optional<Error> error;
  bool operator==(const Output& other) const { return tokens == other.tokens; }
};

class EngineChoiceTest : public testing::Test {
 protected:
  std::shared_ptr<Engine> make_engine(bool chooses) {
    LoadOptions load;
    observer_.on_head = [this](std::span<const int32_t> rows) { num_logit_rows_ += rows.size(); };
    if (chooses) {
      observer_.chooser = [this](const TokenChoice& choice, std::span<const LogitEdit> edits,
                                 std::span<float> logits) -> TokenId {
        ++num_chosen_;
        EXPECT_EQ(choice.temperature, 0);
        for (const LogitEdit& edit : edits) logits[edit.token] = edited(logits[edit.token], edit);
        const TokenId best = argmax(logits);
        return logits[best] > -INFINITY ? best : -1;
      };
    } else {
      observer_.chooser = nullptr;
    }
    load.backend = std::make_shared<WatchedBackend>(cpu::make_cpu_backend(cpu::best_isa()),
                                                    observer_);
    EngineOptions options;
    options.num_threads = 1;
    options.max_sequences = 7;
    return Engine::create(
        LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q8_0.gguf", load),
        options);
  }

  static std::vector<Output> run(Engine& engine, const std::vector<GenerateOptions>& all) {
    std::vector<std::shared_ptr<Session>> sessions;
    std::vector<std::shared_ptr<Request>> requests;
    for (size_t i = 0; i < all.size(); ++i) {
      sessions.push_back(engine.create_session());
      const std::vector<TokenId> prompt(5 + 3 * i, static_cast<TokenId>(20 + i));
      const Part part = std::span<const TokenId>(prompt);
      sessions.back()->append({&part, 1});
      requests.push_back(sessions.back()->generate(all[i], nullptr));
    }
    std::vector<Output> outputs;
    for (const std::shared_ptr<Request>& request : requests) {
      Output output;
      try {
        request->await(std::nullopt);
      } catch (const Error& error) {
        output.error = error;
      }
      output.tokens.resize(request->usage().generated_tokens);
      request->tokens(0, output.tokens, {});
      outputs.push_back(output);
    }
    engine.close(std::nullopt);
    return outputs;
  }

  static GenerateOptions greedy() {
    GenerateOptions options;
    options.max_tokens = 20;
    options.sampling.temperature = 0;
    options.ignore_eos = true;
    return options;
  }

  StepObserver observer_;
  std::atomic<size_t> num_logit_rows_{0}, num_chosen_{0};
};

TEST_F(EngineChoiceTest, TokensAreThoseThatTheHostWouldChoose) {
  std::vector<GenerateOptions> all(12, greedy());
  for (size_t i = 0; i < all.size(); ++i) {
    SamplingOptions& sampling = all[i].sampling;
    if (i % 2 == 1) sampling.repetition_penalty = 1.7f;
    if (i % 3 == 1) sampling.presence_penalty = 0.6f;
    if (i % 3 == 2) sampling.frequency_penalty = 0.4f;
    if (i % 4 == 3) {
      for (TokenId token = 0; token < 60; ++token) sampling.biases.push_back({token, -2});
      sampling.biases.push_back({7, 3});  // twice
    }
  }
  const std::vector<Output> expected = run(*make_engine(false), all);
  EXPECT_EQ(num_chosen_, 0u);
  num_logit_rows_ = 0;
  EXPECT_EQ(run(*make_engine(true), all), expected);
  EXPECT_EQ(num_chosen_, 12u * 20u);
  EXPECT_EQ(num_logit_rows_, 0u);
}

TEST_F(EngineChoiceTest, LogitsComeToTheHostOnlyForWhoWantsLogprobs) {
  std::vector<GenerateOptions> all(6, greedy());
  const std::vector<Output> expected = run(*make_engine(false), all);
  all[1].top_logprobs = 0;
  all[4].top_logprobs = 3;
  num_logit_rows_ = 0;
  EXPECT_EQ(run(*make_engine(true), all), expected);
  EXPECT_EQ(num_chosen_, 4u * 20u);
  EXPECT_EQ(num_logit_rows_, 2u * 20u);
}

TEST_F(EngineChoiceTest, WhereNothingCanBeChosenTheRequestSaysWhy) {
  std::vector<GenerateOptions> all(2, greedy());
  for (TokenId token = 0; token < 4096; ++token) {
    all[0].sampling.biases.push_back({token, -INFINITY});
  }
  const std::shared_ptr<Engine> engine = make_engine(true);
  all[0].sampling.biases.resize(static_cast<size_t>(engine->model()->config().vocab_size));
  const std::vector<Output> outputs = run(*engine, all);
  ASSERT_TRUE(outputs[0].error.has_value());
  EXPECT_EQ(outputs[0].error->status(), Status::INVALID_ARGUMENT);
  EXPECT_NE(std::string(outputs[0].error->message()).find("forbid every token"), std::string::npos);
  EXPECT_EQ(outputs[1].tokens.size(), 20u);
}

}  // namespace
}  // namespace kvi
