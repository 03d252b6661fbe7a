// The engine over real weights of tiny models: what a session computes depends on its tokens only, bit for
// bit, whatever runs beside it and however the work is cut.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <future>
#include <random>
#include <thread>

#include "base/error.h"
#include "engine/request_news.h"
#include "support/expect_error.h"
#include "support/output.h"
#include "support/seed.h"
#include "support/temp_folder.h"
#include "tokenizer/chat_prompt.h"

namespace kvi {

static void PrintTo(Precision precision, std::ostream* out) {
  *out << (precision == Precision::f32_activations ? "f32" : "int8");
}

namespace {

std::shared_ptr<const LoadedModel> open_tiny(const std::string& name) {
  return LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/" + name, {});
}

std::vector<TokenId> random_tokens(std::mt19937_64& random, const LoadedModel& model,
                                   size_t count) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % model.config().vocab_size);
  return tokens;
}

void append(Session& session, const std::vector<TokenId>& tokens) {
  const Part part = std::span<const TokenId>(tokens);
  session.append({&part, 1});
}

// Ids and log-probabilities: equal logits give equal bits here, and unequal ones hardly ever do.
Output generate(Session& session, const GenerateOptions& options) {
  return output_of(*session.generate(options, nullptr));
}

std::vector<float> logits_of(Engine& engine, const std::vector<TokenId>& tokens) {
  std::vector<float> logits((tokens.size() - 1) *
                            static_cast<size_t>(engine.model()->config().vocab_size));
  engine.score(tokens, 1, {.logprobs = {}, .top1 = {}, .logits = logits});
  return logits;
}

class EngineTest : public testing::TestWithParam<std::tuple<const char*, Precision>> {
 protected:
  EngineOptions options() const {
    EngineOptions options;
    options.precision = std::get<1>(GetParam());
    options.num_threads = 1;
    return options;
  }
  std::mt19937_64 random_{test_seed()};
  std::shared_ptr<const LoadedModel> model_ = open_tiny(std::get<0>(GetParam()));
};

TEST_P(EngineTest, LogitsDoNotDependOnThreadsOrChunks) {
  const std::vector<TokenId> tokens = random_tokens(random_, *model_, 150);
  const std::vector<float> expected = logits_of(*Engine::create(model_, options()), tokens);
  for (uint32_t threads : {1, 2, 3}) {
    for (uint32_t chunk : {1, 16, 128, 512}) {
      EngineOptions cut = options();
      cut.num_threads = threads;
      cut.max_batch_tokens = chunk;
      const std::vector<float> logits = logits_of(*Engine::create(model_, cut), tokens);
      EXPECT_EQ(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)), 0)
          << threads << " threads, chunks of " << chunk;
    }
  }
}

TEST_P(EngineTest, SessionGeneratesTheSameAloneAndAmongSevenOthers) {
  const std::vector<TokenId> prompt = random_tokens(random_, *model_, 70);
  const std::shared_ptr<Engine> alone = Engine::create(model_, options());
  const std::shared_ptr<Session> single = alone->create_session();
  append(*single, prompt);
  const Output expected = generate(*single, sampled(7));
  ASSERT_EQ(expected.tokens.size(), 24u);

  EngineOptions crowded = options();
  crowded.num_threads = 2;
  crowded.max_batch_tokens = 48;
  const std::shared_ptr<Engine> engine = Engine::create(model_, crowded);
  std::vector<std::shared_ptr<Session>> sessions;
  std::vector<std::shared_ptr<Request>> requests;
  for (int i = 0; i < 8; ++i) {
    sessions.push_back(engine->create_session());
    append(*sessions[i], i == 4 ? prompt : random_tokens(random_, *model_, 1 + random_() % 100));
    requests.push_back(sessions[i]->generate(sampled(i == 4 ? 7 : random_()), nullptr));
  }
  EXPECT_EQ(output_of(*requests[4]), expected);
  for (auto& request : requests) request->await(std::nullopt);
}

TEST_P(EngineTest, ForkAndTruncateGiveWhatAFreshSessionGives) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, options());
  const std::vector<TokenId> prompt = random_tokens(random_, *model_, 90);
  const std::vector<TokenId> tail = random_tokens(random_, *model_, 21);
  std::vector<TokenId> whole(prompt.begin(), prompt.begin() + 77);
  whole.insert(whole.end(), tail.begin(), tail.end());
  const std::shared_ptr<Session> fresh = engine->create_session();
  append(*fresh, whole);
  const Output expected = generate(*fresh, sampled(3));

  const std::shared_ptr<Session> parent = engine->create_session();
  append(*parent, prompt);
  const Output parents = generate(*parent, sampled(5, 2));
  const std::shared_ptr<Session> child = parent->fork();
  child->truncate(77);
  append(*child, tail);
  EXPECT_EQ(generate(*child, sampled(3)), expected);

  // The parent still holds what it held: going on equals going on without a child.
  const std::shared_ptr<Session> other = engine->create_session();
  append(*other, prompt);
  ASSERT_EQ(generate(*other, sampled(5, 2)), parents);
  EXPECT_EQ(generate(*parent, sampled(9)), generate(*other, sampled(9)));

  parent->truncate(77);
  append(*parent, tail);
  EXPECT_EQ(generate(*parent, sampled(3)), expected);
}

TEST_P(EngineTest, GeneratingTwiceContinuesTheText) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, options());
  const std::vector<TokenId> prompt = random_tokens(random_, *model_, 40);
  GenerateOptions greedy = sampled(0, 20);
  greedy.sampling.temperature = 0;
  const std::shared_ptr<Session> once = engine->create_session();
  append(*once, prompt);
  const Output expected = generate(*once, greedy);
  const std::shared_ptr<Session> twice = engine->create_session();
  append(*twice, prompt);
  greedy.max_tokens = 8;
  Output first = generate(*twice, greedy);
  greedy.max_tokens = 12;
  const Output second = generate(*twice, greedy);
  first.tokens.insert(first.tokens.end(), second.tokens.begin(), second.tokens.end());
  first.logprobs.insert(first.logprobs.end(), second.logprobs.begin(), second.logprobs.end());
  EXPECT_EQ(first, expected);
}

INSTANTIATE_TEST_SUITE_P(Models, EngineTest,
                         testing::Combine(testing::Values("llama-q4_1.gguf", "gemma3-q4_k_m.gguf",
                                                          "mistral", "gpt2-f32.gguf"),
                                          testing::Values(Precision::int8_activations,
                                                          Precision::f32_activations)));

class TinyEngineTest : public testing::Test {
 protected:
  std::mt19937_64 random_{test_seed()};
  std::shared_ptr<const LoadedModel> model_ = open_tiny("gemma3-q8_0.gguf");
};

TEST_F(TinyEngineTest, KvMemoryStopsGrowingAtTheWindow) {
  EngineOptions options;
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 100));
  generate(*session, sampled(1, 1));
  const uint64_t before = session->info().kv_bytes;
  append(*session, random_tokens(random_, *model_, 64));
  generate(*session, sampled(1, 1));
  const uint64_t grown = session->info().kv_bytes - before;
  // Only the global layers' share of four more pages.
  const ModelConfig& config = model_->config();
  const uint64_t per_layer = uint64_t{2} * 2 * config.num_kv_heads * config.head_dim;
  const uint64_t global_layers = config.num_layers - config.num_window_layers();
  ASSERT_GT(config.num_window_layers(), 0);
  EXPECT_LE(grown,
            (64 + 16) * per_layer * global_layers + 16 * per_layer * config.num_window_layers());
}

EngineOptions tight_engine(const LoadedModel& model) {
  EngineOptions options;
  options.max_model_len = 2000;
  options.max_batch_tokens = 64;
  options.kv_budget_bytes = 12 * model.config().kv_bytes_per_token() * 16;
  return options;
}

// Runs `work`, which must fail for want of KV pages.
template <typename Work>
Error exhaustion_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::EXHAUSTED);
    EXPECT_GT(error.needed(), error.available());
    return error;
  }
  ADD_FAILURE() << "it fits";
  return Error(Status::OK, "");
}

TEST_F(TinyEngineTest, PromptThatTheBudgetCanNeverHoldIsRefusedAtOnce) {
  const EngineOptions options = tight_engine(*model_);
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  const std::shared_ptr<Session> running = engine->create_session();
  append(*running, random_tokens(random_, *model_, 20));
  const std::shared_ptr<Request> request = running->generate(sampled(1, 100000), nullptr);
  const std::shared_ptr<Session> large = engine->create_session();
  append(*large, random_tokens(random_, *model_, 1000));
  // Beside another one that runs: nobody waits.
  const Error error = exhaustion_of([&] { large->generate(sampled(1), nullptr); });
  EXPECT_FALSE(error.is_retryable());
  EXPECT_EQ(error.available(), options.kv_budget_bytes);
  for (uint64_t amount : {error.needed(), error.available()}) {
    EXPECT_NE(error.message().find(std::to_string(amount)), std::string::npos) << error.message();
  }
  EXPECT_EQ(large->info().num_tokens, 1000u);
  EXPECT_FALSE(large->info().busy);
  request->cancel(CancelMode::keep);
  request->await(std::nullopt);
  EXPECT_THROW(engine->score(large->tokens(), 1, {}), Error);
}

// The other way round: just what is refused does not fit.
TEST_F(TinyEngineTest, LongestPromptThatIsAcceptedFits) {
  EngineOptions options = tight_engine(*model_);
  for (uint32_t batch : {16u, 64u, 100u}) {
    options.max_batch_tokens = batch;
    const std::shared_ptr<Engine> engine = Engine::create(model_, options);
    const std::vector<TokenId> tokens = random_tokens(random_, *model_, 1000);
    size_t accepted = 0;
    for (size_t size = 1; size <= tokens.size(); size += 23) {
      const std::shared_ptr<Session> session = engine->create_session();
      append(*session, std::vector<TokenId>(tokens.begin(), tokens.begin() + size));
      try {
        session->generate(sampled(1, 0), nullptr)->await(std::nullopt);
        accepted = size;
      } catch (const Error& error) {
        EXPECT_FALSE(error.is_retryable()) << error.message();
        EXPECT_EQ(engine->stats().requests_failed, 0u) << error.message();
        break;
      }
    }
    EXPECT_GT(accepted, 64u);
    EXPECT_LT(accepted, 1000u);
  }
}

TEST_F(TinyEngineTest, IdleSessionsGiveTheirPagesToThoseWhoCompute) {
  const EngineOptions options = tight_engine(*model_);
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 100));
  const Error alone = exhaustion_of([&] { generate(*session, sampled(1, 100000)); });
  EXPECT_FALSE(alone.is_retryable());
  EXPECT_EQ(alone.available(), options.kv_budget_bytes);

  const std::shared_ptr<Session> late = engine->create_session();
  append(*late, random_tokens(random_, *model_, 100));
  EXPECT_EQ(generate(*late, sampled(1)).tokens.size(), 24u);
  EXPECT_GT(session->info().num_tokens, 100u);  // it lost no token, only pages
}

TEST_F(TinyEngineTest, ExhaustedPoolEndsOneRequestAndTheEngineGoesOn) {
  const EngineOptions options = tight_engine(*model_);
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  {
    const std::shared_ptr<Session> large = engine->create_session();
    append(*large, random_tokens(random_, *model_, 100));
    exhaustion_of([&] { generate(*large, sampled(1, 100000)); });
  }
  EXPECT_LE(engine->stats().kv_peak_bytes, options.kv_budget_bytes);
  const std::shared_ptr<Session> small = engine->create_session();
  append(*small, random_tokens(random_, *model_, 20));
  EXPECT_EQ(generate(*small, sampled(1)).tokens.size(), 24u);
  EXPECT_EQ(engine->stats().requests_failed, 1u);
}

TEST_F(TinyEngineTest, CancelKeepsOrRollsBack) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  for (CancelMode mode : {CancelMode::keep, CancelMode::rollback}) {
    const std::shared_ptr<Session> session = engine->create_session();
    append(*session, random_tokens(random_, *model_, 30));
    const std::shared_ptr<Request> request = session->generate(sampled(1, 100000), nullptr);
    EXPECT_THROW(session->truncate(1), Error);  // BUSY
    while (request->usage().generated_tokens < 3) std::this_thread::yield();
    request->cancel(mode);
    request->await(std::nullopt);
    EXPECT_EQ(request->usage().finish, Finish::cancelled);
    const uint32_t generated = request->usage().generated_tokens;
    EXPECT_EQ(session->info().num_tokens, mode == CancelMode::keep ? 30 + generated : 30u);
  }
}

TEST_F(TinyEngineTest, FullContextFinishesAsContextAndALongerPromptIsRefused) {
  EngineOptions options;
  options.max_model_len = 50;
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 45));
  const Output output = generate(*session, sampled(1));
  EXPECT_EQ(output.usage.finish, Finish::context);
  EXPECT_EQ(output.tokens.size(), 5u);
  try {
    append(*session, std::vector<TokenId>{1});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::CONTEXT_FULL);
    EXPECT_EQ(error.needed(), 51u);
    EXPECT_EQ(error.available(), 50u);
  }
}

TEST_F(TinyEngineTest, ReleasedSessionsGiveTheirPagesBack) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  {
    const std::shared_ptr<Session> idle = engine->create_session();
    append(*idle, random_tokens(random_, *model_, 100));
    generate(*idle, sampled(1));
    const std::shared_ptr<Session> running = engine->create_session();
    append(*running, random_tokens(random_, *model_, 100));
    running->generate(sampled(1, 100000), nullptr);
  }
  while (engine->stats().num_running + engine->stats().num_queued > 0) std::this_thread::yield();
  EXPECT_EQ(engine->stats().kv_used_bytes, 0u);
  EXPECT_EQ(engine->stats().num_sessions, 0u);
}

TEST_F(TinyEngineTest, GeneratingNoTokensComputesThePrompt) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  const std::vector<TokenId> prompt = random_tokens(random_, *model_, 50);
  const std::shared_ptr<Session> warmed = engine->create_session();
  append(*warmed, prompt);
  const std::shared_ptr<Request> request = warmed->generate(sampled(1, 0), nullptr);
  EXPECT_EQ(output_of(*request).usage.finish, Finish::length);
  EXPECT_EQ(request->usage().prompt_tokens, 50u);
  EXPECT_EQ(request->usage().generated_tokens, 0u);
  EXPECT_EQ(warmed->info().num_computed_tokens, 50u);
  EXPECT_EQ(warmed->tokens(), prompt);
  EXPECT_EQ(engine->stats().prefill_tokens, 50u);
  EXPECT_EQ(engine->stats().generated_tokens, 0u);

  const std::shared_ptr<Session> cold = engine->create_session();
  append(*cold, prompt);
  const std::shared_ptr<Request> going_on = warmed->generate(sampled(3), nullptr);
  EXPECT_EQ(output_of(*going_on), generate(*cold, sampled(3)));
  EXPECT_EQ(going_on->usage().cached_tokens, 49u);  // the last token's logits are computed again
}

TEST_F(TinyEngineTest, BiasesThatForbidEveryTokenAreNamed) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 5));
  GenerateOptions options = sampled(3);
  for (TokenId token = 0; token < model_->config().vocab_size; ++token) {
    options.sampling.biases.push_back({token, -INFINITY});
  }
  const std::shared_ptr<Request> request = session->generate(options, nullptr);
  EXPECT_ERROR(request->await(std::nullopt), INVALID_ARGUMENT, "forbid every token");
  EXPECT_EQ(request->usage().finish, Finish::error);
  EXPECT_EQ(generate(*session, sampled(3, 5)).tokens.size(), 5u);  // the session goes on
}

TEST_F(TinyEngineTest, ARequestWithOutputLeftToReadIsNamedAgain) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 5));
  int handle = 0;
  const std::shared_ptr<Request> request = session->generate(sampled(30), &handle);
  request->await(std::nullopt);
  static_cast<void>(engine->stats());  // waits until the core has told all of the end
  ASSERT_EQ(engine->wait(8, std::chrono::milliseconds(0)), std::vector<void*>{&handle});
  EXPECT_TRUE(engine->wait(8, std::chrono::milliseconds(0)).empty());
  char buffer[4];
  Finish finish = Finish::none;
  request->read(buffer, &finish);
  ASSERT_TRUE(request->has_unread());
  engine->name_again(request);
  EXPECT_EQ(engine->wait(8, std::chrono::milliseconds(0)), std::vector<void*>{&handle});
}

TEST(RequestNewsTest, AReleasedRequestIsGivenBackThoughNobodyWaits) {
  for (int released = 0; released < 3; ++released) {
    RequestNews news;
    int handles[3];
    std::vector<void*> named;
    std::vector<std::shared_ptr<Request>> requests;
    for (int& handle : handles) {
      requests.push_back(std::make_shared<Request>(GenerateOptions{}));
      requests.back()->set_user_handle(&handle);
      news.post(requests.back());
      if (&handle != &handles[released]) named.push_back(&handle);
    }
    news.forget(*requests[released]);
    EXPECT_EQ(requests[released].use_count(), 1);
    news.post(requests[released]);
    EXPECT_EQ(requests[released].use_count(), 1) << "listed again after its release";
    int last = 0;
    requests.push_back(std::make_shared<Request>(GenerateOptions{}));
    requests.back()->set_user_handle(&last);
    news.post(requests.back());
    named.push_back(&last);
    EXPECT_EQ(news.wait(8, std::chrono::milliseconds(0)), named);
    EXPECT_TRUE(news.wait(8, std::chrono::milliseconds(0)).empty());
  }
}

// What the last one holds is freed: as many handles as ever come and go, the list does not grow.
TEST_F(TinyEngineTest, RequestsWhoseNewsNobodyTakesAreGivenBackByTheirRelease) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 5));
  int handle = 0;
  std::shared_ptr<Request> request = session->generate(sampled(1), &handle);
  request->await(std::nullopt);
  engine->forget(*request);
  const std::weak_ptr<Request> kept = request;
  request.reset();
  engine->close(std::nullopt);  // the engine's thread had it in hand
  EXPECT_TRUE(kept.expired());
}

TEST_F(TinyEngineTest, GeneratingNoTokensIsPossibleInAFullSession) {
  EngineOptions options;
  options.max_model_len = 50;
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 50));
  EXPECT_EQ(generate(*session, sampled(1, 0)).usage.finish, Finish::length);
  EXPECT_EQ(session->info().num_computed_tokens, 50u);
}

TemplateInput conversation(const std::vector<ChatMessage>& messages) {
  TemplateInput input;
  input.messages = messages;
  return input;
}

class ConversationTest : public testing::Test {
 protected:
  ConversationTest() {
    const std::string source = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama";
    std::filesystem::copy(source, folder_.path());
    folder_.write("tokenizer_config.json",
                  R"({"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n)"
                  R"({% endfor %}"})");
    model_ = LoadedModel::open(folder_.path(), {});
    engine_ = Engine::create(model_, {});
  }

  std::vector<TokenId> tokens_of(const std::vector<ChatMessage>& messages) const {
    return encode_chat(model_->tokenizer(), model_->chat_template(), conversation(messages));
  }

  TempFolder folder_;
  std::shared_ptr<const LoadedModel> model_;
  std::shared_ptr<Engine> engine_;
};

TEST_F(ConversationTest, SetMessagesKeepsTheLongestCommonPrefixAndReportsWhatItDropped) {
  const std::shared_ptr<Session> session = engine_->create_session();
  const std::vector<ChatMessage> first = {{"user", "once upon a time there was a king", ""}};
  const MessagesResult begin = session->set_messages(conversation(first));
  EXPECT_EQ(begin.kept_tokens, 0u);
  EXPECT_EQ(begin.dropped_tokens, 0u);
  EXPECT_EQ(begin.added_tokens, tokens_of(first).size());
  EXPECT_EQ(session->tokens(), tokens_of(first));

  generate(*session, sampled(1, 10));
  const std::vector<TokenId> held = session->tokens();
  // The last word changes, and another message comes: what the model said is dropped.
  const std::vector<ChatMessage> second = {{"user", "once upon a time there was a cat", ""},
                                           {"user", "and a dog", ""}};
  const std::vector<TokenId> wanted = tokens_of(second);
  size_t common = 0;
  while (common < std::min(held.size(), wanted.size()) && held[common] == wanted[common]) ++common;
  ASSERT_GT(common, 5u);
  ASSERT_LT(common, tokens_of(first).size());
  const MessagesResult changed = session->set_messages(conversation(second));
  EXPECT_EQ(changed.kept_tokens, common);
  EXPECT_EQ(changed.dropped_tokens, held.size() - common);
  EXPECT_EQ(changed.added_tokens, wanted.size() - common);
  EXPECT_EQ(session->tokens(), wanted);

  // Kept tokens keep their pages, and the answer is that of a session without a past.
  const std::shared_ptr<Request> request = session->generate(sampled(2, 10), nullptr);
  const Output output = output_of(*request);
  EXPECT_EQ(request->usage().cached_tokens, common);
  const std::shared_ptr<Session> fresh = engine_->create_session();
  fresh->set_messages(conversation(second));
  EXPECT_EQ(generate(*fresh, sampled(2, 10)), output);
}

TEST_F(ConversationTest, SettingTheSameMessagesKeepsAllAndAFailureChangesNothing) {
  const std::shared_ptr<Session> session = engine_->create_session();
  const std::vector<ChatMessage> messages = {{"user", "once upon a time", ""}};
  session->set_messages(conversation(messages));
  const std::vector<TokenId> held = session->tokens();
  const MessagesResult again = session->set_messages(conversation(messages));
  EXPECT_EQ(again.kept_tokens, held.size());
  EXPECT_EQ(again.dropped_tokens, 0u);
  EXPECT_EQ(again.added_tokens, 0u);
  const std::vector<ChatMessage> endless = {{"user", std::string(100'000, 'x'), ""}};
  EXPECT_ERROR(session->set_messages(conversation(endless)), CONTEXT_FULL, "max_model_len");
  EXPECT_EQ(session->tokens(), held);
}

bool is_open(Engine& engine) {
  try {
    engine.create_session();
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The engine lets go of its mutex to log: a close in just that moment must not be slept through.
TEST_F(TinyEngineTest, ClosingWhileAFailureIsLoggedEndsTheEngine) {
  std::shared_ptr<Engine> engine;
  std::thread closer;
  bool closed = false;
  std::promise<void> logged;
  EngineOptions options;
  options.kv_budget_bytes = 2 * model_->config().kv_bytes_per_token() * 16;
  options.log = [&](LogLevel, const std::string&) {
    closer = std::thread([&] { closed = engine->close(std::chrono::seconds(20)); });
    while (is_open(*engine)) std::this_thread::yield();
    logged.set_value();
  };
  engine = Engine::create(model_, options);
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 20));
  EXPECT_THROW(generate(*session, sampled(1, 100000)), Error);
  logged.get_future().wait();
  closer.join();
  EXPECT_TRUE(closed);
}

TEST_F(TinyEngineTest, ClosingEndsRequestsAndLaterCalls) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, {});
  const std::shared_ptr<Session> session = engine->create_session();
  append(*session, random_tokens(random_, *model_, 30));
  const std::shared_ptr<Request> request = session->generate(sampled(1, 100000), nullptr);
  EXPECT_TRUE(engine->close(std::nullopt));
  EXPECT_TRUE(request->await(std::nullopt));
  EXPECT_EQ(request->usage().finish, Finish::cancelled);
  EXPECT_THROW(append(*session, std::vector<TokenId>(1, 1)), Error);
  EXPECT_THROW(engine->create_session(), Error);
}

}  // namespace
}  // namespace kvi
