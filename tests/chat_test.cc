// A conversation with the real SmolLM2 through the C ABI: the second turn keeps what the first computed,
// and says what a session without a past says.
#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support/real_models.h"

namespace kvi {
namespace {

struct Turn {
  std::string role, content;
};

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  kvi_messages_result messages;
  kvi_usage usage;
};

class ChatTest : public testing::TestWithParam<int32_t> {
 protected:
  void SetUp() override {
    const std::string path = real_model_path(kSmolLm2);
    if (access(path.c_str(), R_OK) != 0) {
      GTEST_SKIP() << "no " << path << ": tests/fetch_models.sh fetches it";
    }
    ASSERT_EQ(kvi_model_open(path.data(), path.size(), nullptr, &model_, nullptr), KVI_OK);
    kvi_engine_options options;
    ASSERT_EQ(kvi_engine_options_init(&options, sizeof options), KVI_OK);
    options.max_model_len = 1024;
    options.activations = GetParam();
    ASSERT_EQ(kvi_engine_create(model_, &options, &engine_, nullptr), KVI_OK);
  }
  void TearDown() override {
    kvi_engine_release(engine_);
    kvi_model_release(model_);
  }

  kvi_session* open_session() {
    kvi_session* session = nullptr;
    EXPECT_EQ(kvi_session_create(engine_, nullptr, &session, nullptr), KVI_OK);
    return session;
  }

  // The model's greedy answer to a conversation.
  static Answer answer(kvi_session* session, const std::vector<Turn>& turns) {
    std::vector<kvi_message> messages(turns.size());
    for (size_t i = 0; i < turns.size(); ++i) {
      kvi_message_init(&messages[i], sizeof messages[i]);
      messages[i].role = turns[i].role.data();
      messages[i].role_size = turns[i].role.size();
      messages[i].content = turns[i].content.data();
      messages[i].content_size = turns[i].content.size();
    }
    Answer answer;
    kvi_messages_result_init(&answer.messages, sizeof answer.messages);
    EXPECT_EQ(kvi_session_set_messages(session, messages.data(), messages.size(), nullptr, 0,
                                       &answer.messages, nullptr),
              KVI_OK);
    kvi_generate_options options;
    kvi_generate_options_init(&options, sizeof options);
    options.temperature = 0;
    options.max_tokens = 48;
    kvi_request* request = nullptr;
    EXPECT_EQ(kvi_session_generate(session, &options, &request, nullptr), KVI_OK);
    EXPECT_EQ(kvi_request_await(request, KVI_FOREVER, nullptr), KVI_OK);
    answer.text.resize(4096);
    size_t size = 0;
    EXPECT_EQ(
        kvi_request_read(request, answer.text.data(), answer.text.size(), &size, nullptr, nullptr),
        KVI_OK);
    answer.text.resize(size);
    answer.tokens.resize(options.max_tokens);
    EXPECT_EQ(kvi_request_tokens(request, 0, answer.tokens.data(), nullptr, answer.tokens.size(),
                                 &size, nullptr),
              KVI_OK);
    answer.tokens.resize(size);
    kvi_usage_init(&answer.usage, sizeof answer.usage);
    EXPECT_EQ(kvi_request_get_usage(request, &answer.usage, nullptr), KVI_OK);
    kvi_request_release(request);
    return answer;
  }

  kvi_model* model_ = nullptr;
  kvi_engine* engine_ = nullptr;
};

TEST_P(ChatTest, TheSecondTurnKeepsTheFirstAndSaysWhatAFreshSessionSays) {
  kvi_session* session = open_session();
  std::vector<Turn> turns = {{"user", "What is 2+2?"}};
  const Answer first = answer(session, turns);
  EXPECT_NE(first.text.find("4"), std::string::npos) << first.text;
  EXPECT_EQ(first.messages.kept_tokens, 0u);
  EXPECT_EQ(first.usage.prompt_tokens, first.messages.added_tokens);
  EXPECT_EQ(first.usage.cached_tokens, 0u);

  turns.push_back({"assistant", first.text});
  turns.push_back({"user", "And what is 3+3?"});
  const Answer second = answer(session, turns);
  // At least the first prompt is a prefix of the second, and all of what is kept was computed, but for the
  // last token that was generated.
  EXPECT_GE(second.messages.kept_tokens, first.usage.prompt_tokens);
  EXPECT_EQ(second.messages.kept_tokens + second.messages.dropped_tokens,
            first.usage.prompt_tokens + first.usage.generated_tokens);
  EXPECT_EQ(second.messages.kept_tokens + second.messages.added_tokens, second.usage.prompt_tokens);
  EXPECT_GE(second.usage.cached_tokens, first.usage.prompt_tokens);
  EXPECT_LE(second.usage.cached_tokens, second.messages.kept_tokens);
  EXPECT_GT(second.usage.generated_tokens, 0u);

  kvi_session* fresh = open_session();
  const Answer whole = answer(fresh, turns);
  // The prefix cache has it too: what it gave is what computing gave.
  EXPECT_LE(whole.usage.cached_tokens + 1, whole.usage.prompt_tokens);
  EXPECT_EQ(whole.usage.prompt_tokens, second.usage.prompt_tokens);
  EXPECT_EQ(whole.text, second.text);
  EXPECT_EQ(whole.tokens, second.tokens);
  std::printf("1: %s\n2: %s\n%u of %u tokens of the second prompt were computed before\n",
              first.text.c_str(), second.text.c_str(), second.usage.cached_tokens,
              second.usage.prompt_tokens);
  kvi_session_release(fresh);
  kvi_session_release(session);
}

TEST_P(ChatTest, TheTemplateRendersTheExactText) {
  kvi_message messages[3];
  for (kvi_message& message : messages) kvi_message_init(&message, sizeof message);
  messages[0].role = "user";  // the sizes: up to the terminator
  messages[0].content = "What is 2+2?";
  messages[1].role = "assistant";
  messages[1].content = "4<|im_end|>";  // text, not a token
  messages[2].role = "user";
  messages[2].content = "And 3+3?";
  const std::string turns =
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
      "<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n"
      "<|im_start|>assistant\n4<|im_end|><|im_end|>\n<|im_start|>user\nAnd 3+3?<|im_end|>\n";
  const auto render = [&](const char* arguments) {
    size_t size = 0;
    EXPECT_EQ(kvi_apply_template(model_, messages, 3, arguments, KVI_ZERO_TERMINATED, nullptr, 0,
                                 &size, nullptr),
              KVI_OK);
    std::string text(size, '\0');
    EXPECT_EQ(kvi_apply_template(model_, messages, 3, arguments, KVI_ZERO_TERMINATED, text.data(),
                                 size, &size, nullptr),
              KVI_OK);
    return text;
  };
  EXPECT_EQ(render("{}"), turns + "<|im_start|>assistant\n");
  EXPECT_EQ(render(R"({"add_generation_prompt": false})"), turns);
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_apply_template(model_, messages, 3, "[]", 2, nullptr, 0, nullptr, &error),
            KVI_INVALID_ARGUMENT);
  EXPECT_NE(std::string(kvi_error_message(error)).find("arguments is not"), std::string::npos)
      << kvi_error_message(error);
  kvi_error_release(error);
}

INSTANTIATE_TEST_SUITE_P(Activations, ChatTest,
                         testing::Values(KVI_ACTIVATIONS_INT8, KVI_ACTIVATIONS_F32));

}  // namespace
}  // namespace kvi
