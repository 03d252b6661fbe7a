// Every function of the C interface with NULL, zero and absurd arguments, and with structs of older and
// newer callers: each answers with a status, and the engine goes on.
//
// What is exercised is compared with the list of functions in the header.
#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";
constexpr int kVocabSize = 290;

std::set<std::string>& exercised() {
  static std::set<std::string> names;
  return names;
}

// Calls a function, and remembers that it was.
#define CALL(function, ...) (exercised().insert(#function), function(__VA_ARGS__))

std::set<std::string> functions_of_the_header() {
  std::ifstream file(std::string(KVINFER_TEST_DATA) + "/../include/kvinfer/kvinfer.h");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::regex declaration(R"(KVI_CALL\s+(kvi_\w+)\()");
  std::set<std::string> names;
  for (std::sregex_iterator match(text.begin(), text.end(), declaration), end; match != end;
       ++match) {
    names.insert((*match)[1]);
  }
  return names;
}

#define EXPECT_INVALID(call) EXPECT_EQ(call, KVI_INVALID_ARGUMENT)

// An error that names what is wrong.
void expect_names(const std::function<kvi_status(kvi_error**)>& call, const std::string& word,
                  kvi_status expected = KVI_INVALID_ARGUMENT) {
  kvi_error* error = nullptr;
  EXPECT_EQ(call(&error), expected) << word << ": " << kvi_error_message(error);
  EXPECT_NE(std::string(kvi_error_message(error)).find(word), std::string::npos)
      << "'" << word << "' is not in: " << kvi_error_message(error);
  kvi_error_release(error);
}

class CapiAbuse : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(CALL(kvi_model_open, kModelPath.data(), kModelPath.size(), nullptr, &model_, nullptr),
              KVI_OK);
    kvi_engine_options options;
    ASSERT_EQ(CALL(kvi_engine_options_init, &options, sizeof options), KVI_OK);
    options.num_threads = 1;
    options.kv_budget_bytes = 8 << 20;
    ASSERT_EQ(CALL(kvi_engine_create, model_, &options, &engine_, nullptr), KVI_OK);
    ASSERT_EQ(CALL(kvi_session_create, engine_, nullptr, &session_, nullptr), KVI_OK);
    ASSERT_EQ(CALL(kvi_session_append_text, session_, "once upon", 9, nullptr), KVI_OK);
  }

  void TearDown() override {
    expect_engine_goes_on();
    CALL(kvi_session_release, session_);
    CALL(kvi_engine_release, engine_);
    CALL(kvi_model_release, model_);
  }

  void expect_engine_goes_on() {
    kvi_generate_options options;
    ASSERT_EQ(CALL(kvi_generate_options_init, &options, sizeof options), KVI_OK);
    options.max_tokens = 3;
    options.ignore_eos = 1;
    kvi_usage usage;
    ASSERT_EQ(CALL(kvi_usage_init, &usage, sizeof usage), KVI_OK);
    EXPECT_EQ(CALL(kvi_generate, engine_, "once", 4, &options, nullptr, nullptr, &usage, nullptr),
              KVI_OK);
    EXPECT_EQ(usage.generated_tokens, 3u);
  }

  kvi_request* finished_request() {
    kvi_generate_options options;
    kvi_generate_options_init(&options, sizeof options);
    options.max_tokens = 2;
    options.ignore_eos = 1;
    kvi_request* request = nullptr;
    EXPECT_EQ(CALL(kvi_session_generate, session_, &options, &request, nullptr), KVI_OK);
    EXPECT_EQ(CALL(kvi_request_await, request, KVI_FOREVER, nullptr), KVI_OK);
    return request;
  }

  void abuse_errors_and_devices();
  void abuse_models();
  void abuse_tokenizers();
  void abuse_templates();
  void abuse_engines();
  void abuse_sessions();
  void abuse_snapshots();
  void abuse_requests();
  void abuse_generation();
  void abuse_budgets();
  void abuse_cache();

  kvi_model* model_ = nullptr;
  kvi_engine* engine_ = nullptr;
  kvi_session* session_ = nullptr;
};

constexpr size_t kAbsurd = SIZE_MAX / 2 + 1;  // more than any object has

void CapiAbuse::abuse_errors_and_devices() {
  EXPECT_STREQ(CALL(kvi_status_name, INT32_MIN), "UNKNOWN");
  EXPECT_STREQ(CALL(kvi_finish_name, INT32_MIN), "unknown");
  EXPECT_GT(CALL(kvi_version), 0u);
  EXPECT_EQ(CALL(kvi_has_feature, nullptr), 0);
  EXPECT_EQ(CALL(kvi_has_feature, ""), 0);
  EXPECT_EQ(CALL(kvi_error_code, nullptr), KVI_OK);
  EXPECT_STREQ(CALL(kvi_error_message, nullptr), "");
  EXPECT_EQ(CALL(kvi_error_retryable, nullptr), 0);
  EXPECT_EQ(CALL(kvi_error_needed, nullptr), 0u);
  EXPECT_EQ(CALL(kvi_error_available, nullptr), 0u);
  CALL(kvi_error_release, nullptr);

  kvi_device_info info;
  EXPECT_EQ(CALL(kvi_device_info_init, &info, sizeof info), KVI_OK);
  EXPECT_GE(CALL(kvi_device_count), 1u);
  EXPECT_INVALID(CALL(kvi_device_get_info, 0, nullptr, nullptr));
  expect_names([&](kvi_error** e) { return kvi_device_get_info(UINT32_MAX, &info, e); },
               "4294967295", KVI_NOT_FOUND);
}

void CapiAbuse::abuse_models() {
  kvi_model* out = nullptr;
  EXPECT_INVALID(CALL(kvi_model_open, nullptr, 0, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_model_open, nullptr, 7, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_model_open, "", 0, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_model_open, "a\0b", 3, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_model_open, "x", kAbsurd, nullptr, &out, nullptr));
  EXPECT_INVALID(
      CALL(kvi_model_open, kModelPath.data(), kModelPath.size(), nullptr, nullptr, nullptr));
  const std::string endless(100000, 'x');
  EXPECT_NE(CALL(kvi_model_open, endless.data(), endless.size(), nullptr, &out, nullptr), KVI_OK);
  const auto with = [&](const char* word, auto change, kvi_status expected = KVI_INVALID_ARGUMENT) {
    kvi_model_options options;
    EXPECT_EQ(CALL(kvi_model_options_init, &options, sizeof options), KVI_OK);
    change(options);
    expect_names(
        [&](kvi_error** e) {
          return kvi_model_open(kModelPath.data(), kModelPath.size(), &options, &out, e);
        },
        word, expected);
  };
  with("load", [](auto& o) { o.load = 2; });
  with("load", [](auto& o) { o.load = -1; });
  with(
      "device", [](auto& o) { o.device = 1000; }, KVI_NOT_FOUND);
  with("num_threads", [](auto& o) { o.num_threads = 0; });
  with("num_threads", [](auto& o) { o.num_threads = 100000; });
  with(
      "",
      [](auto& o) { o.progress = [](void*, uint64_t, uint64_t) -> int32_t { return KVI_CANCEL; }; },
      KVI_CANCELLED);
  EXPECT_EQ(out, nullptr);

  kvi_model_info info;
  EXPECT_EQ(CALL(kvi_model_info_init, &info, sizeof info), KVI_OK);
  EXPECT_INVALID(CALL(kvi_model_get_info, nullptr, &info, nullptr));
  EXPECT_INVALID(CALL(kvi_model_get_info, model_, nullptr, nullptr));
  char buffer[16];
  size_t needed = 0;
  EXPECT_INVALID(CALL(kvi_model_text, nullptr, 0, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_model_text, model_, -1, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_model_text, model_, 1000, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_model_text, model_, 0, nullptr, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_model_text, model_, 0, buffer, kAbsurd, &needed, nullptr));
  EXPECT_EQ(CALL(kvi_model_metadata_count, nullptr), 0u);
  EXPECT_INVALID(CALL(kvi_model_metadata_key, nullptr, 0, buffer, 16, &needed, nullptr));
  EXPECT_EQ(CALL(kvi_model_metadata_key, model_, SIZE_MAX, buffer, 16, &needed, nullptr),
            KVI_NOT_FOUND);
  EXPECT_INVALID(CALL(kvi_model_metadata_value, nullptr, "k", 1, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_model_metadata_value, model_, nullptr, 0, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(
      CALL(kvi_model_metadata_value, model_, "k", kAbsurd, buffer, 16, &needed, nullptr));
  EXPECT_EQ(CALL(kvi_model_metadata_value, model_, "no such key", KVI_ZERO_TERMINATED, buffer, 16,
                 &needed, nullptr),
            KVI_NOT_FOUND);
  CALL(kvi_model_release, nullptr);
}

void CapiAbuse::abuse_tokenizers() {
  int32_t tokens[8] = {};
  char buffer[16];
  size_t count = 0;
  EXPECT_INVALID(CALL(kvi_tokenize, nullptr, "x", 1, 0, 0, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, nullptr, 1, 0, 0, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", kAbsurd, 0, 0, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, 3, 0, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, -1, 0, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, 0, 2, tokens, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, 0, 0, nullptr, 8, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, 0, 0, tokens, kAbsurd, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_tokenize, model_, "x", 1, 0, 0, nullptr, 0, nullptr, nullptr));
  expect_names(
      [&](kvi_error** e) { return kvi_tokenize(model_, "ab\xff", 3, 0, 0, tokens, 8, &count, e); },
      "2");
  EXPECT_EQ(CALL(kvi_tokenize, model_, "", 0, KVI_BOS_NO, 0, tokens, 8, &count, nullptr), KVI_OK);
  EXPECT_EQ(count, 0u);

  EXPECT_INVALID(CALL(kvi_detokenize, nullptr, tokens, 1, 0, buffer, 16, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_detokenize, model_, nullptr, 1, 0, buffer, 16, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_detokenize, model_, tokens, kAbsurd, 0, buffer, 16, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_detokenize, model_, tokens, 1, 5, buffer, 16, &count, nullptr));
  for (int32_t token : {-1, kVocabSize, INT32_MAX, INT32_MIN}) {
    EXPECT_INVALID(CALL(kvi_detokenize, model_, &token, 1, 0, buffer, 16, &count, nullptr));
  }
  EXPECT_EQ(CALL(kvi_detokenize, model_, nullptr, 0, 0, nullptr, 0, &count, nullptr), KVI_OK);

  kvi_decoder* decoder = nullptr;
  const char* text = nullptr;
  EXPECT_INVALID(CALL(kvi_decoder_create, nullptr, 0, &decoder, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_create, model_, 0, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_create, model_, 9, &decoder, nullptr));
  ASSERT_EQ(CALL(kvi_decoder_create, model_, 0, &decoder, nullptr), KVI_OK);
  EXPECT_INVALID(CALL(kvi_decoder_push, nullptr, 0, &text, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_push, decoder, 0, nullptr, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_push, decoder, 0, &text, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_push, decoder, -1, &text, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_push, decoder, INT32_MAX, &text, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_finish, nullptr, &text, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_decoder_finish, decoder, nullptr, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_decoder_push, decoder, 65, &text, &count, nullptr), KVI_OK);
  CALL(kvi_decoder_release, decoder);
  CALL(kvi_decoder_release, nullptr);
}

void CapiAbuse::abuse_templates() {
  char buffer[16];
  size_t needed = 0;
  kvi_message message;
  EXPECT_EQ(CALL(kvi_message_init, &message, sizeof message), KVI_OK);
  EXPECT_INVALID(
      CALL(kvi_apply_template, nullptr, &message, 1, nullptr, 0, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(
      CALL(kvi_apply_template, model_, nullptr, 1, nullptr, 0, buffer, 16, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_apply_template, model_, &message, kAbsurd, nullptr, 0, buffer, 16,
                      &needed, nullptr));
  EXPECT_INVALID(
      CALL(kvi_apply_template, model_, &message, 1, nullptr, 4, buffer, 16, &needed, nullptr));
  expect_names(
      [&](kvi_error** e) {
        return kvi_apply_template(model_, &message, 1, nullptr, 0, buffer, 16, &needed, e);
      },
      "role");  // it is empty
  message.role = "user";
  EXPECT_EQ(CALL(kvi_apply_template, model_, &message, 1, nullptr, 0, buffer, 16, &needed, nullptr),
            KVI_UNSUPPORTED);
  message.role = nullptr;
  message.role_size = 3;
  EXPECT_INVALID(
      CALL(kvi_apply_template, model_, &message, 1, nullptr, 0, buffer, 16, &needed, nullptr));
  kvi_messages_result result;
  EXPECT_EQ(CALL(kvi_messages_result_init, &result, sizeof result), KVI_OK);
  EXPECT_INVALID(
      CALL(kvi_session_set_messages, nullptr, &message, 1, nullptr, 0, &result, nullptr));
  EXPECT_INVALID(
      CALL(kvi_session_set_messages, session_, nullptr, 1, nullptr, 0, &result, nullptr));
  result.struct_size = 0;
  EXPECT_INVALID(
      CALL(kvi_session_set_messages, session_, nullptr, 0, nullptr, 0, &result, nullptr));
}

void CapiAbuse::abuse_engines() {
  kvi_engine* out = nullptr;
  EXPECT_INVALID(CALL(kvi_engine_create, nullptr, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_create, model_, nullptr, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_open, nullptr, 0, nullptr, &out, nullptr));
  EXPECT_INVALID(
      CALL(kvi_engine_open, kModelPath.data(), kModelPath.size(), nullptr, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_engine_open, "/", 1, nullptr, &out, nullptr) == KVI_OK, false);
  size_t needed = 0;
  char text[8];
  EXPECT_INVALID(CALL(kvi_engine_metrics_text, nullptr, nullptr, 0, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_metrics_text, engine_, nullptr, 8, &needed, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_metrics_text, engine_, nullptr, 0, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_engine_metrics_text, engine_, nullptr, 0, &needed, nullptr), KVI_OK);
  EXPECT_GT(needed, 1000u);
  EXPECT_EQ(CALL(kvi_engine_metrics_text, engine_, text, sizeof text, &needed, nullptr),
            KVI_BUFFER_TOO_SMALL);
  kvi_plan plan;
  EXPECT_EQ(CALL(kvi_plan_init, &plan, sizeof plan), KVI_OK);
  EXPECT_INVALID(CALL(kvi_plan_model, nullptr, nullptr, &plan, nullptr));
  EXPECT_INVALID(CALL(kvi_plan_model, model_, nullptr, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_plan_shape, nullptr, nullptr, &plan, nullptr));
  kvi_model_shape shape;
  EXPECT_EQ(CALL(kvi_model_shape_init, &shape, sizeof shape), KVI_OK);
  EXPECT_INVALID(CALL(kvi_plan_shape, &shape, nullptr, nullptr, nullptr));
  expect_names([&](kvi_error** e) { return kvi_plan_shape(&shape, nullptr, &plan, e); },
               "num_layers is 0");
  kvi_plan_options plan_options;
  EXPECT_EQ(CALL(kvi_plan_options_init, &plan_options, sizeof plan_options), KVI_OK);
  EXPECT_INVALID(CALL(kvi_plan_options_preset, nullptr, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_plan_options_preset, &plan_options, 3, nullptr));
  EXPECT_INVALID(CALL(kvi_plan_options_preset, &plan_options, -1, nullptr));
  const auto planning = [&](const char* word, auto change) {
    kvi_plan_options options;
    kvi_plan_options_init(&options, sizeof options);
    change(options);
    expect_names([&](kvi_error** e) { return kvi_plan_model(model_, &options, &plan, e); }, word);
  };
  planning("gpu_memory_utilization is nan", [](auto& o) { o.gpu_memory_utilization = NAN; });
  planning("device_memory_bytes", [](auto& o) { o.device_memory_bytes = uint64_t{1} << 63; });
  planning("max_num_seqs", [](auto& o) { o.max_num_seqs = static_cast<uint32_t>(-1); });
  planning("kv_cache_dtype is 'fp9'", [](auto& o) { o.kv_cache_dtype = "fp9"; });
  planning("kv_cache_dtype is ''", [](auto& o) { o.kv_cache_dtype = ""; });
  planning("kv_cache_dtype", [](auto& o) { o.kv_cache_dtype_size = 4; });
  planning("enable_prefix_caching", [](auto& o) { o.enable_prefix_caching = 2; });
  planning("must_fit", [](auto& o) { o.must_fit = 7; });
  planning("activations", [](auto& o) { o.activations = 5; });
  const auto with = [&](const char* word, auto change) {
    kvi_engine_options options;
    kvi_engine_options_init(&options, sizeof options);
    change(options);
    expect_names([&](kvi_error** e) { return kvi_engine_create(model_, &options, &out, e); }, word);
    // Before the model is even looked for.
    expect_names([&](kvi_error** e) { return kvi_engine_open("/none", 5, &options, &out, e); },
                 word);
  };
  with("max_model_len", [](auto& o) { o.max_model_len = 0; });
  with("max_model_len", [](auto& o) { o.max_model_len = UINT32_MAX - 1; });
  with("max_sequences", [](auto& o) { o.max_sequences = 0; });
  with("max_sequences", [](auto& o) { o.max_sequences = UINT32_MAX; });
  with("max_batch_tokens", [](auto& o) { o.max_batch_tokens = 0; });
  with("max_batch_tokens", [](auto& o) { o.max_batch_tokens = UINT32_MAX; });
  with("max_queued", [](auto& o) { o.max_queued = UINT32_MAX; });
  for (uint32_t page_len : {0u, 1u, 8u, 17u, 48u, 512u, UINT32_MAX}) {
    with("page_len", [&](auto& o) { o.page_len = page_len; });
  }
  with("num_threads", [](auto& o) { o.num_threads = 0; });
  with("num_threads", [](auto& o) { o.num_threads = 257; });
  with("activations", [](auto& o) { o.activations = 2; });
  with("activations", [](auto& o) { o.activations = -1; });
  with("kv_budget_bytes", [](auto& o) { o.kv_budget_bytes = 0; });
  with("kv_budget_bytes", [](auto& o) { o.kv_budget_bytes = UINT64_MAX; });
  kvi_engine_options small;
  kvi_engine_options_init(&small, sizeof small);
  small.kv_budget_bytes = 1;
  EXPECT_EQ(CALL(kvi_engine_create, model_, &small, &out, nullptr), KVI_EXHAUSTED);
  EXPECT_EQ(out, nullptr);

  EXPECT_INVALID(CALL(kvi_engine_close, nullptr, 0, nullptr));
  kvi_model* model = nullptr;
  EXPECT_INVALID(CALL(kvi_engine_model, nullptr, &model, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_model, engine_, nullptr, nullptr));
  kvi_stats stats;
  EXPECT_EQ(CALL(kvi_stats_init, &stats, sizeof stats), KVI_OK);
  EXPECT_INVALID(CALL(kvi_engine_get_stats, nullptr, &stats, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_get_stats, engine_, nullptr, nullptr));
  kvi_request* requests[2];
  size_t count = 7;
  EXPECT_INVALID(CALL(kvi_engine_wait, nullptr, requests, 2, &count, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_wait, engine_, nullptr, 2, &count, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_wait, engine_, requests, 0, &count, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_wait, engine_, requests, 2, nullptr, 0, nullptr));
  EXPECT_EQ(CALL(kvi_engine_wait, engine_, requests, kAbsurd, &count, 0, nullptr), KVI_TIMEOUT);
  EXPECT_EQ(count, 0u);
  CALL(kvi_engine_release, nullptr);
}

void CapiAbuse::abuse_sessions() {
  kvi_session* out = nullptr;
  kvi_session_options options;
  EXPECT_EQ(CALL(kvi_session_options_init, &options, sizeof options), KVI_OK);
  EXPECT_INVALID(CALL(kvi_session_create, nullptr, &options, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_session_create, engine_, &options, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append_text, nullptr, "x", 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append_text, session_, nullptr, 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append_text, session_, "\xff", 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append_text, session_, "x", kAbsurd, nullptr));
  kvi_part part;
  EXPECT_EQ(CALL(kvi_part_init, &part, sizeof part), KVI_OK);
  EXPECT_INVALID(CALL(kvi_session_append, nullptr, &part, 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append, session_, nullptr, 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_append, session_, &part, kAbsurd, nullptr));
  EXPECT_EQ(CALL(kvi_session_append, session_, nullptr, 0, nullptr), KVI_OK);
  const auto with = [&](auto change, kvi_status expected = KVI_INVALID_ARGUMENT) {
    kvi_part changed = part;
    change(changed);
    EXPECT_EQ(CALL(kvi_session_append, session_, &changed, 1, nullptr), expected);
  };
  const std::vector<int32_t> many(100000, 1);
  with([](auto& p) { p.kind = 2; });
  with([](auto& p) { p.kind = -1; });
  with([](auto& p) { p.add_bos = 3; });
  with([](auto& p) { p.parse_special = 2; });
  with([](auto& p) { p.text_size = 1; });
  with([](auto& p) { p.kind = KVI_PART_TOKENS, p.num_tokens = 1; });
  with([&](auto& p) { p.kind = KVI_PART_TOKENS, p.tokens = many.data(), p.num_tokens = kAbsurd; });
  with(
      [&](auto& p) {
        p.kind = KVI_PART_TOKENS, p.tokens = many.data(), p.num_tokens = many.size();
      },
      KVI_CONTEXT_FULL);
  for (int32_t token : {-1, kVocabSize, INT32_MAX, INT32_MIN}) {
    with([&](auto& p) { p.kind = KVI_PART_TOKENS, p.tokens = &token, p.num_tokens = 1; });
  }
  // All parts, or none.
  kvi_part two[2] = {part, part};
  two[0].text = "good";
  two[0].text_size = 4;
  two[1].kind = 77;
  size_t before = 0, after = 0;
  EXPECT_EQ(CALL(kvi_session_tokens, session_, nullptr, 0, &before, nullptr), KVI_OK);
  EXPECT_INVALID(CALL(kvi_session_append, session_, two, 2, nullptr));
  EXPECT_EQ(CALL(kvi_session_tokens, session_, nullptr, 0, &after, nullptr), KVI_OK);
  EXPECT_EQ(before, after);

  EXPECT_INVALID(CALL(kvi_session_truncate, nullptr, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_session_truncate, session_, UINT32_MAX, nullptr));
  EXPECT_INVALID(CALL(kvi_session_fork, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_session_fork, session_, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_session_tokens, nullptr, nullptr, 0, &before, nullptr));
  EXPECT_INVALID(CALL(kvi_session_tokens, session_, nullptr, 4, &before, nullptr));
  kvi_session_info info;
  EXPECT_EQ(CALL(kvi_session_info_init, &info, sizeof info), KVI_OK);
  EXPECT_INVALID(CALL(kvi_session_get_info, nullptr, &info, nullptr));
  EXPECT_INVALID(CALL(kvi_session_get_info, session_, nullptr, nullptr));
  CALL(kvi_session_release, nullptr);
}

void CapiAbuse::abuse_snapshots() {
  const auto write = [](void*, const void*, size_t) -> int32_t { return KVI_CONTINUE; };
  const auto read = [](void*, void*, size_t, size_t* size) -> int32_t {
    return *size = 0, KVI_CONTINUE;
  };
  EXPECT_INVALID(CALL(kvi_session_save, nullptr, "x", 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, nullptr, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, "", 0, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, "a\0b", 3, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, "x", kAbsurd, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, "/", 1, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save, session_, "/dev/null", 9, nullptr));
  EXPECT_EQ(CALL(kvi_session_save, session_, "/no/such/x", 10, nullptr), KVI_NOT_FOUND);
  EXPECT_INVALID(CALL(kvi_session_save_to, nullptr, write, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_session_save_to, session_, nullptr, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_session_save_to, session_, write, nullptr, nullptr), KVI_OK);

  kvi_session* out = nullptr;
  kvi_snapshot_options options;
  kvi_snapshot_result result;
  kvi_snapshot_info info;
  EXPECT_EQ(CALL(kvi_snapshot_options_init, &options, sizeof options), KVI_OK);
  EXPECT_EQ(CALL(kvi_snapshot_result_init, &result, sizeof result), KVI_OK);
  EXPECT_EQ(CALL(kvi_snapshot_info_init, &info, sizeof info), KVI_OK);
  EXPECT_STREQ(CALL(kvi_snapshot_reason_name, KVI_SNAPSHOT_TRUNCATED), "truncated");
  EXPECT_STREQ(CALL(kvi_snapshot_reason_name, INT32_MIN), "unknown");
  EXPECT_STREQ(CALL(kvi_snapshot_reason_name, INT32_MAX), "unknown");
  EXPECT_INVALID(CALL(kvi_session_load, nullptr, "x", 1, &options, &out, &result, nullptr));
  EXPECT_INVALID(CALL(kvi_session_load, engine_, nullptr, 1, &options, &out, &result, nullptr));
  EXPECT_INVALID(CALL(kvi_session_load, engine_, "x", kAbsurd, &options, &out, &result, nullptr));
  EXPECT_INVALID(CALL(kvi_session_load, engine_, "x", 1, &options, nullptr, &result, nullptr));
  EXPECT_INVALID(CALL(kvi_session_load, engine_, "/", 1, nullptr, &out, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_session_load, engine_, "/no/such", 8, nullptr, &out, nullptr, nullptr),
            KVI_NOT_FOUND);
  EXPECT_EQ(CALL(kvi_session_load, engine_, kModelPath.data(), kModelPath.size(), nullptr, &out,
                 &result, nullptr),
            KVI_CORRUPT);
  EXPECT_INVALID(
      CALL(kvi_session_load_from, nullptr, read, nullptr, &options, &out, &result, nullptr));
  EXPECT_INVALID(
      CALL(kvi_session_load_from, engine_, nullptr, nullptr, &options, &out, &result, nullptr));
  EXPECT_INVALID(
      CALL(kvi_session_load_from, engine_, read, nullptr, &options, nullptr, &result, nullptr));
  EXPECT_EQ(CALL(kvi_session_load_from, engine_, read, nullptr, &options, &out, &result, nullptr),
            KVI_CORRUPT);
  const auto claims_too_much = [](void*, void*, size_t, size_t* size) -> int32_t {
    return *size = SIZE_MAX, KVI_CONTINUE;
  };
  EXPECT_INVALID(CALL(kvi_session_load_from, engine_, claims_too_much, nullptr, &options, &out,
                      &result, nullptr));
  options.allow_foreign_numerics = 2;
  expect_names(
      [&](kvi_error** e) { return kvi_session_load(engine_, "x", 1, &options, &out, &result, e); },
      "allow_foreign_numerics");
  EXPECT_EQ(out, nullptr);
  EXPECT_INVALID(CALL(kvi_snapshot_inspect, nullptr, 1, &info, nullptr));
  EXPECT_INVALID(CALL(kvi_snapshot_inspect, "x", 1, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_snapshot_inspect, "/no/such", 8, &info, nullptr), KVI_NOT_FOUND);
  EXPECT_EQ(CALL(kvi_snapshot_inspect, kModelPath.data(), kModelPath.size(), &info, nullptr),
            KVI_CORRUPT);
  EXPECT_INVALID(CALL(kvi_snapshot_verify, nullptr, 1, &result, nullptr));
  EXPECT_INVALID(CALL(kvi_snapshot_verify, "x", 1, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_snapshot_verify, kModelPath.data(), kModelPath.size(), &result, nullptr),
            KVI_OK);
  EXPECT_EQ(result.reason, KVI_SNAPSHOT_NOT_A_SNAPSHOT);
}

void CapiAbuse::abuse_requests() {
  kvi_request* request = finished_request();
  char buffer[16];
  int32_t tokens[4];
  float logprobs[4];
  size_t size = 0;
  EXPECT_INVALID(CALL(kvi_request_read, nullptr, buffer, 16, &size, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_read, request, nullptr, 16, &size, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_read, request, buffer, 3, &size, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_read, request, buffer, kAbsurd, &size, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_read, request, buffer, 16, nullptr, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_tokens, nullptr, 0, tokens, logprobs, 4, &size, nullptr));
  EXPECT_INVALID(CALL(kvi_request_tokens, request, 0, tokens, logprobs, 4, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_request_tokens, request, 0, tokens, logprobs, kAbsurd, &size, nullptr));
  EXPECT_EQ(CALL(kvi_request_tokens, request, SIZE_MAX, tokens, logprobs, 4, &size, nullptr),
            KVI_OK);
  EXPECT_EQ(size, 0u);
  EXPECT_EQ(CALL(kvi_request_tokens, request, 0, nullptr, logprobs, 4, &size, nullptr), KVI_OK);
  EXPECT_EQ(size, 2u);
  EXPECT_TRUE(std::isnan(logprobs[0]));
  EXPECT_INVALID(CALL(kvi_request_top_logprobs, nullptr, 0, tokens, logprobs, 4, &size, nullptr));
  EXPECT_INVALID(CALL(kvi_request_top_logprobs, request, 0, tokens, logprobs, 4, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_request_top_logprobs, request, 0, tokens, logprobs, 4, &size, nullptr),
            KVI_INVALID_STATE);
  EXPECT_INVALID(CALL(kvi_request_wait, nullptr, 0, nullptr));
  EXPECT_EQ(CALL(kvi_request_wait, request, 0, nullptr), KVI_OK);
  EXPECT_EQ(CALL(kvi_request_user, nullptr), nullptr);
  EXPECT_EQ(CALL(kvi_request_user, request), nullptr);
  EXPECT_INVALID(CALL(kvi_request_await, nullptr, 0, nullptr));
  EXPECT_INVALID(CALL(kvi_request_cancel, nullptr, KVI_STOP, nullptr));
  EXPECT_INVALID(CALL(kvi_request_cancel, request, KVI_CONTINUE, nullptr));
  EXPECT_INVALID(CALL(kvi_request_cancel, request, 99, nullptr));
  EXPECT_EQ(CALL(kvi_request_cancel, request, KVI_CANCEL, nullptr),
            KVI_OK);  // no effect after the end
  kvi_usage usage;
  EXPECT_EQ(CALL(kvi_usage_init, &usage, sizeof usage), KVI_OK);
  EXPECT_INVALID(CALL(kvi_request_get_usage, nullptr, &usage, nullptr));
  EXPECT_INVALID(CALL(kvi_request_get_usage, request, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_request_get_usage, request, &usage, nullptr), KVI_OK);
  EXPECT_EQ(usage.finish, KVI_FINISH_LENGTH);
  CALL(kvi_request_release, request);
  CALL(kvi_request_release, nullptr);
}

void CapiAbuse::abuse_generation() {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  kvi_request* out = nullptr;
  EXPECT_INVALID(CALL(kvi_session_generate, nullptr, nullptr, &out, nullptr));
  EXPECT_INVALID(CALL(kvi_session_generate, session_, nullptr, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_generate, nullptr, "x", 1, nullptr, nullptr, nullptr, nullptr, nullptr));
  EXPECT_INVALID(
      CALL(kvi_generate, engine_, nullptr, 1, nullptr, nullptr, nullptr, nullptr, nullptr));
  EXPECT_INVALID(
      CALL(kvi_generate, engine_, "\xc3", 1, nullptr, nullptr, nullptr, nullptr, nullptr));
  expect_names(
      [&](kvi_error** e) {
        return kvi_generate(engine_, "", 0, nullptr, nullptr, nullptr, nullptr, e);
      },
      "the prompt is empty");
  const std::string long_prompt(5000, 'x');
  expect_names(
      [&](kvi_error** e) {
        return kvi_generate(engine_, long_prompt.data(), long_prompt.size(), nullptr, nullptr,
                            nullptr, nullptr, e);
      },
      "5000", KVI_CONTEXT_FULL);
  const auto with = [&](const char* word, auto change) {
    kvi_generate_options options;
    EXPECT_EQ(CALL(kvi_generate_options_init, &options, sizeof options), KVI_OK);
    change(options);
    expect_names([&](kvi_error** e) { return kvi_session_generate(session_, &options, &out, e); },
                 word);
    expect_names(
        [&](kvi_error** e) {
          return kvi_generate(engine_, "once", 4, &options, nullptr, nullptr, nullptr, e);
        },
        word);
    EXPECT_EQ(out, nullptr);
  };
  for (float value : {-1.0f, kNan, INFINITY, -INFINITY}) {
    with("temperature", [&](auto& o) { o.temperature = value; });
  }
  for (float value : {0.0f, -0.5f, 1.5f, kNan, INFINITY}) {
    with("top_p", [&](auto& o) { o.top_p = value; });
  }
  for (float value : {-0.5f, 1.5f, kNan, INFINITY}) {
    with("min_p", [&](auto& o) { o.min_p = value; });
  }
  for (float value : {0.0f, -1.0f, kNan, INFINITY}) {
    with("repetition_penalty", [&](auto& o) { o.repetition_penalty = value; });
  }
  for (float value : {kNan, INFINITY, -INFINITY}) {
    with("presence_penalty", [&](auto& o) { o.presence_penalty = value; });
    with("frequency_penalty", [&](auto& o) { o.frequency_penalty = value; });
  }
  with("top_logprobs", [](auto& o) { o.top_logprobs = -2; });
  with("top_logprobs", [](auto& o) { o.top_logprobs = 65; });
  with("ignore_eos", [](auto& o) { o.ignore_eos = 2; });
  with("stops", [](auto& o) { o.num_stops = 1; });
  with("num_stops", [](auto& o) { o.num_stops = UINT32_MAX; });
  with("biases", [](auto& o) { o.num_biases = 1; });
  with("num_biases", [](auto& o) { o.num_biases = UINT32_MAX; });
  for (const kvi_stop_text& stop : {kvi_stop_text{"", 0}, kvi_stop_text{nullptr, 3},
                                    kvi_stop_text{"\xff", 1}, kvi_stop_text{"x", kAbsurd}}) {
    with("stop text", [&](auto& o) { o.stops = &stop, o.num_stops = 1; });
  }
  for (const kvi_logit_bias& bias : {kvi_logit_bias{-1, 0}, kvi_logit_bias{kVocabSize, 0},
                                     kvi_logit_bias{0, kNan}, kvi_logit_bias{0, INFINITY}}) {
    with("bias", [&](auto& o) { o.biases = &bias, o.num_biases = 1; });
  }
  // Every token forbidden is absurd too, and still ends in some way.
  std::vector<kvi_logit_bias> all;
  for (int32_t token = 0; token < kVocabSize; ++token) all.push_back({token, -INFINITY});
  kvi_generate_options options;
  kvi_generate_options_init(&options, sizeof options);
  options.biases = all.data();
  options.num_biases = static_cast<uint32_t>(all.size());
  options.max_tokens = 2;
  (void)CALL(kvi_generate, engine_, "once", 4, &options, nullptr, nullptr, nullptr, nullptr);
  options.num_biases = 0;
  options.max_tokens = UINT32_MAX;
  options.ignore_eos = 1;
  kvi_usage usage;
  kvi_usage_init(&usage, sizeof usage);
  EXPECT_EQ(CALL(kvi_generate, engine_, "once", 4, &options, nullptr, nullptr, &usage, nullptr),
            KVI_OK);
  EXPECT_EQ(usage.finish, KVI_FINISH_CONTEXT);
  options.timeout_ms = 0;
  EXPECT_EQ(CALL(kvi_generate, engine_, "once", 4, &options, nullptr, nullptr, &usage, nullptr),
            KVI_OK);
  EXPECT_EQ(usage.finish, KVI_FINISH_CANCELLED);

  const std::vector<int32_t> tokens(300, 1);
  std::vector<float> logprobs(300);
  const auto score = [&](const int32_t* ids, size_t count, size_t first) {
    return CALL(kvi_score, engine_, ids, count, first, logprobs.data(), nullptr, nullptr, nullptr);
  };
  EXPECT_INVALID(
      CALL(kvi_score, nullptr, tokens.data(), 2, 1, logprobs.data(), nullptr, nullptr, nullptr));
  EXPECT_INVALID(score(nullptr, 2, 1));
  EXPECT_INVALID(score(tokens.data(), 0, 1));
  EXPECT_INVALID(score(tokens.data(), 1, 1));
  EXPECT_INVALID(score(tokens.data(), 2, 0));
  EXPECT_INVALID(score(tokens.data(), 2, 2));
  EXPECT_INVALID(score(tokens.data(), kAbsurd, 1));
  EXPECT_EQ(score(tokens.data(), 300, 1), KVI_CONTEXT_FULL);
  const int32_t outside[] = {1, kVocabSize};
  EXPECT_INVALID(score(outside, 2, 1));
  EXPECT_EQ(CALL(kvi_score, engine_, tokens.data(), 2, 1, nullptr, nullptr, nullptr, nullptr),
            KVI_OK);
}

void CapiAbuse::abuse_budgets() {
  kvi_budget* budget = nullptr;
  EXPECT_INVALID(CALL(kvi_budget_create, 1 << 20, nullptr, nullptr));
  expect_names([&](kvi_error** e) { return kvi_budget_create(0, &budget, e); }, "limit_bytes is 0");
  ASSERT_EQ(CALL(kvi_budget_create, 8 << 20, &budget, nullptr), KVI_OK);
  EXPECT_INVALID(CALL(kvi_budget_set_limit, nullptr, 1 << 20, nullptr));
  EXPECT_INVALID(CALL(kvi_budget_set_limit, budget, UINT64_MAX, nullptr));
  kvi_budget_info info;
  EXPECT_EQ(CALL(kvi_budget_info_init, &info, sizeof info), KVI_OK);
  EXPECT_INVALID(CALL(kvi_budget_get_info, nullptr, &info, nullptr));
  EXPECT_INVALID(CALL(kvi_budget_get_info, budget, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_budget_get_info, budget, &info, nullptr), KVI_OK);
  CALL(kvi_budget_release, budget);
  CALL(kvi_budget_release, nullptr);
  EXPECT_INVALID(CALL(kvi_engine_set_budget, nullptr, 1 << 20, nullptr));
  EXPECT_INVALID(CALL(kvi_engine_set_budget, engine_, 0, nullptr));
  uint64_t given_back = 0;
  EXPECT_INVALID(CALL(kvi_engine_trim, nullptr, 1, &given_back, nullptr));
  EXPECT_EQ(CALL(kvi_engine_trim, engine_, UINT64_MAX, nullptr, nullptr), KVI_OK);

  kvi_engine* out = nullptr;
  const auto with = [&](const char* word, auto change) {
    kvi_engine_options options;
    kvi_engine_options_init(&options, sizeof options);
    change(options);
    expect_names([&](kvi_error** e) { return kvi_engine_create(model_, &options, &out, e); }, word);
  };
  with("kv_budget_max_bytes", [](auto& o) { o.kv_budget_max_bytes = 1; });
  with("kv_budget_max_bytes", [](auto& o) { o.kv_budget_max_bytes = UINT64_MAX; });
  for (double value : {-0.1, 1.5, static_cast<double>(NAN)}) {
    with("kv_grow_at", [&](auto& o) { o.kv_grow_at = value; });
  }
  for (double value : {1.0, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
    with("kv_grow_factor", [&](auto& o) { o.kv_grow_factor = value; });
  }
  for (double value : {0.0, 1.5, static_cast<double>(NAN)}) {
    with("tenant_share", [&](auto& o) { o.tenant_share = value; });
  }
  with("prefix_caching", [](auto& o) { o.prefix_caching = 2; });
  with("cache_events", [](auto& o) { o.cache_events = UINT32_MAX; });
  with("eviction_policy", [](auto& o) { o.eviction_policy = ""; });
  with("fifo", [](auto& o) { o.eviction_policy = "fifo"; });
  with("cache_secret", [](auto& o) { o.cache_secret_size = 4; });
  with("host_cache_bytes", [](auto& o) { o.host_cache_bytes = UINT64_MAX; });
  const uint64_t too_much = uint64_t{1} << 45;  // more memory than machines have
  with("kv_budget_bytes", [&](auto& o) { o.kv_budget_bytes = too_much; });
  with("kv_budget_max_bytes", [&](auto& o) { o.kv_budget_max_bytes = too_much; });
  with("host_cache_bytes", [&](auto& o) { o.host_cache_bytes = too_much; });
  with("host tier of 1 bytes", [](auto& o) { o.host_cache_bytes = 1; });
  with("disk_cache_folder", [](auto& o) { o.disk_cache_bytes = 1 << 20; });
  with("disk_cache_folder", [](auto& o) { o.disk_cache_folder = ""; });
  EXPECT_EQ(out, nullptr);

  kvi_session* session = nullptr;
  const auto session_with = [&](const char* word, auto change) {
    kvi_session_options options;
    kvi_session_options_init(&options, sizeof options);
    change(options);
    expect_names([&](kvi_error** e) { return kvi_session_create(engine_, &options, &session, e); },
                 word);
  };
  session_with("priority", [](auto& o) { o.priority = 1001; });
  session_with("priority", [](auto& o) { o.priority = INT32_MIN; });
  session_with("tenant", [](auto& o) { o.tenant_size = 1; });
  session_with("reads_shared", [](auto& o) { o.reads_shared = 2; });
  session_with("caches", [](auto& o) { o.caches = UINT32_MAX; });
  kvi_generate_options generate;
  kvi_generate_options_init(&generate, sizeof generate);
  generate.priority = -1001;
  kvi_request* request = nullptr;
  expect_names(
      [&](kvi_error** e) { return kvi_session_generate(session_, &generate, &request, e); },
      "priority");
}

void CapiAbuse::abuse_cache() {
  const std::vector<int32_t> many(40, 1);
  const int32_t* tokens = many.data();
  EXPECT_STREQ(CALL(kvi_miss_reason_name, INT32_MIN), "unknown");
  EXPECT_STREQ(CALL(kvi_miss_reason_name, KVI_MISS_NONE), "none");
  kvi_probe probe;
  EXPECT_EQ(CALL(kvi_probe_init, &probe, sizeof probe), KVI_OK);
  EXPECT_INVALID(CALL(kvi_cache_probe, nullptr, "a", 1, tokens, 40, &probe, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_probe, engine_, nullptr, 1, tokens, 40, &probe, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_probe, engine_, "a", 1, nullptr, 40, &probe, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_probe, engine_, "a", 1, tokens, kAbsurd, &probe, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_probe, engine_, "a", 1, tokens, 40, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_cache_probe, engine_, nullptr, 0, nullptr, 0, &probe, nullptr), KVI_OK);
  const int32_t outside[] = {-1, INT32_MAX, INT32_MIN};
  EXPECT_EQ(CALL(kvi_cache_probe, engine_, "a", 1, outside, 3, &probe, nullptr), KVI_OK);
  EXPECT_EQ(probe.first_miss, 0u);

  kvi_preload_options options;
  EXPECT_EQ(CALL(kvi_preload_options_init, &options, sizeof options), KVI_OK);
  kvi_prefix* prefix = nullptr;
  EXPECT_INVALID(CALL(kvi_cache_preload, nullptr, "a", 1, tokens, 40, &options, &prefix, nullptr));
  EXPECT_INVALID(
      CALL(kvi_cache_preload, engine_, nullptr, 1, tokens, 40, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_preload, engine_, "a", 1, nullptr, 40, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_preload, engine_, "a", 1, outside, 3, nullptr, &prefix, nullptr));
  EXPECT_INVALID(
      CALL(kvi_cache_preload, engine_, "a", 1, tokens, kAbsurd, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_preload, engine_, "a", 1, tokens, 40, nullptr, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_pin, nullptr, "a", 1, tokens, 40, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_pin, engine_, nullptr, 1, tokens, 40, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_pin, engine_, "a", 1, nullptr, 40, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_pin, engine_, "a", 1, tokens, kAbsurd, nullptr, &prefix, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_pin, engine_, "a", 1, tokens, 40, nullptr, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_cache_pin, engine_, "a", 1, nullptr, 0, nullptr, &prefix, nullptr),
            KVI_NOT_FOUND);
  EXPECT_EQ(prefix, nullptr);
  ASSERT_EQ(CALL(kvi_cache_preload, engine_, "a", 1, tokens, 40, &options, &prefix, nullptr),
            KVI_OK);
  kvi_prefix_info info;
  EXPECT_EQ(CALL(kvi_prefix_info_init, &info, sizeof info), KVI_OK);
  EXPECT_INVALID(CALL(kvi_prefix_get_info, nullptr, &info, nullptr));
  EXPECT_INVALID(CALL(kvi_prefix_get_info, prefix, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_prefix_get_info, prefix, &info, nullptr), KVI_OK);
  CALL(kvi_prefix_release, prefix);
  CALL(kvi_prefix_release, nullptr);

  uint32_t num_tokens = 0;
  EXPECT_INVALID(CALL(kvi_cache_prefetch, nullptr, "a", 1, tokens, 40, &num_tokens, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_prefetch, engine_, nullptr, 1, tokens, 40, &num_tokens, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_prefetch, engine_, "a", 1, nullptr, 40, &num_tokens, nullptr));
  EXPECT_EQ(CALL(kvi_cache_prefetch, engine_, "a", 1, nullptr, 0, nullptr, nullptr), KVI_OK);
  EXPECT_INVALID(CALL(kvi_cache_evict, nullptr, "a", 1, tokens, 40, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_evict, engine_, nullptr, 1, tokens, 40, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_evict, engine_, "a", 1, nullptr, 40, nullptr));
  EXPECT_EQ(CALL(kvi_cache_evict, engine_, "a", 1, nullptr, 0, nullptr), KVI_OK);
  EXPECT_INVALID(CALL(kvi_cache_clear, nullptr, "a", 1, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_clear, engine_, nullptr, 1, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_clear, engine_, "a", kAbsurd, nullptr));
  EXPECT_EQ(CALL(kvi_cache_clear, engine_, "", 0, nullptr), KVI_OK);

  kvi_cache_stats stats;
  kvi_tier_stats tier;
  EXPECT_EQ(CALL(kvi_cache_stats_init, &stats, sizeof stats), KVI_OK);
  EXPECT_EQ(CALL(kvi_tier_stats_init, &tier, sizeof tier), KVI_OK);
  EXPECT_INVALID(CALL(kvi_cache_get_stats, nullptr, &stats, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_get_stats, engine_, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_get_tier_stats, nullptr, 0, &tier, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_get_tier_stats, engine_, 0, nullptr, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_get_tier_stats, engine_, -1, &tier, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_get_tier_stats, engine_, 3, &tier, nullptr));
  EXPECT_EQ(CALL(kvi_cache_get_tier_stats, engine_, KVI_TIER_DISK, &tier, nullptr), KVI_OK);
  EXPECT_EQ(tier.budget_bytes + tier.used_bytes, 0u);

  kvi_cache_event event;
  size_t count = 0;
  EXPECT_EQ(CALL(kvi_cache_event_init, &event, sizeof event), KVI_OK);
  EXPECT_INVALID(CALL(kvi_cache_events, nullptr, &event, 1, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_events, engine_, nullptr, 1, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_events, engine_, &event, kAbsurd, &count, nullptr));
  EXPECT_INVALID(CALL(kvi_cache_events, engine_, &event, 1, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_cache_events, engine_, &event, 1, &count, nullptr), KVI_INVALID_STATE);
  event.struct_size = 0;
  EXPECT_INVALID(CALL(kvi_cache_events, engine_, &event, 1, &count, nullptr));

  EXPECT_INVALID(CALL(kvi_session_suspend, nullptr, KVI_TIER_HOST, nullptr));
  EXPECT_INVALID(CALL(kvi_session_suspend, session_, 99, nullptr));
  EXPECT_INVALID(CALL(kvi_session_resume, nullptr, nullptr));
  EXPECT_EQ(CALL(kvi_session_resume, session_, nullptr), KVI_OK);
}

TEST_F(CapiAbuse, EveryFunctionAnswersNullZeroAndAbsurdArguments) {
  abuse_errors_and_devices();
  abuse_models();
  abuse_tokenizers();
  abuse_templates();
  abuse_engines();
  abuse_sessions();
  abuse_snapshots();
  abuse_requests();
  abuse_generation();
  abuse_budgets();
  abuse_cache();
  const std::set<std::string> declared = functions_of_the_header();
  EXPECT_GT(declared.size(), 60u);
  for (const std::string& name : declared) EXPECT_TRUE(exercised().count(name)) << name;
}

// ---- structs of older and newer callers ----

// A struct with room for what a newer caller's has.
template <typename T>
struct Newer {
  T known;
  unsigned char more[64];
};

template <typename T>
void init_keeps_to_its_size(kvi_status (*init)(T*, size_t)) {
  for (size_t size = 0; size <= sizeof(Newer<T>); ++size) {
    Newer<T> buffer;
    std::memset(&buffer, 0xa5, sizeof buffer);
    const kvi_status status = init(&buffer.known, size);
    const auto* bytes = reinterpret_cast<const unsigned char*>(&buffer);
    size_t first_untouched = size;
    if (size < sizeof(uint32_t)) {
      EXPECT_EQ(status, KVI_INVALID_ARGUMENT);
      first_untouched = 0;
    } else {
      EXPECT_EQ(status, KVI_OK);
      EXPECT_EQ(buffer.known.struct_size, size);
    }
    for (size_t i = first_untouched; i < sizeof buffer; ++i)
      ASSERT_EQ(bytes[i], 0xa5) << "byte " << i << " of " << size;
    for (size_t i = sizeof(T); i < first_untouched; ++i)
      ASSERT_EQ(bytes[i], 0) << "byte " << i << " of " << size;
  }
  EXPECT_EQ(init(nullptr, sizeof(T)), KVI_INVALID_ARGUMENT);
  T one;
  EXPECT_EQ(init(&one, SIZE_MAX), KVI_INVALID_ARGUMENT);
  EXPECT_EQ(init(&one, 5000), KVI_INVALID_ARGUMENT);
}

TEST(CapiStructs, InitWritesDefaultsAndNeverPastItsSize) {
  init_keeps_to_its_size(kvi_device_info_init);
  init_keeps_to_its_size(kvi_model_options_init);
  init_keeps_to_its_size(kvi_model_info_init);
  init_keeps_to_its_size(kvi_message_init);
  init_keeps_to_its_size(kvi_engine_options_init);
  init_keeps_to_its_size(kvi_stats_init);
  init_keeps_to_its_size(kvi_plan_init);
  init_keeps_to_its_size(kvi_plan_options_init);
  init_keeps_to_its_size(kvi_model_shape_init);
  init_keeps_to_its_size(kvi_part_init);
  init_keeps_to_its_size(kvi_session_options_init);
  init_keeps_to_its_size(kvi_session_info_init);
  init_keeps_to_its_size(kvi_messages_result_init);
  init_keeps_to_its_size(kvi_snapshot_options_init);
  init_keeps_to_its_size(kvi_snapshot_result_init);
  init_keeps_to_its_size(kvi_snapshot_info_init);
  init_keeps_to_its_size(kvi_generate_options_init);
  init_keeps_to_its_size(kvi_usage_init);
  init_keeps_to_its_size(kvi_budget_info_init);
  init_keeps_to_its_size(kvi_probe_init);
  init_keeps_to_its_size(kvi_preload_options_init);
  init_keeps_to_its_size(kvi_prefix_info_init);
  init_keeps_to_its_size(kvi_tier_stats_init);
  init_keeps_to_its_size(kvi_cache_stats_init);
  init_keeps_to_its_size(kvi_cache_event_init);
}

// use(options): a call that reads options, and is fine with the defaults.
template <typename T, typename Use>
void options_of_any_age_are_read(kvi_status (*init)(T*, size_t), const Use& use) {
  for (size_t size : {sizeof(uint32_t), sizeof(T) / 2 / 8 * 8, sizeof(T)}) {
    if (size < sizeof(uint32_t)) continue;
    T older;
    std::memset(&older, 0xa5, sizeof older);  // what an old caller's memory holds behind its struct
    ASSERT_EQ(init(&older, size), KVI_OK);
    EXPECT_EQ(use(&older), KVI_OK) << "struct_size " << size;
  }
  Newer<T> newer;
  ASSERT_EQ(init(&newer.known, sizeof newer), KVI_OK);
  EXPECT_EQ(use(&newer.known), KVI_OK);
  newer.more[63] = 1;
  EXPECT_EQ(use(&newer.known), KVI_UNSUPPORTED);
  newer.more[63] = 0;
  newer.more[0] = 1;
  EXPECT_EQ(use(&newer.known), KVI_UNSUPPORTED);
  for (uint32_t size : {0u, 3u, 4097u, UINT32_MAX}) {
    newer.known.struct_size = size;
    EXPECT_EQ(use(&newer.known), KVI_INVALID_ARGUMENT) << "struct_size " << size;
  }
}

TEST_F(CapiAbuse, OptionsOfOlderAndNewerCallersAreRead) {
  options_of_any_age_are_read(kvi_model_options_init, [&](const kvi_model_options* options) {
    kvi_model* model = nullptr;
    const kvi_status status = kvi_model_open(kModelPath.data(), kModelPath.size(), options, &model,
                                             nullptr);
    kvi_model_release(model);
    return status;
  });
  options_of_any_age_are_read(kvi_engine_options_init, [&](const kvi_engine_options* options) {
    kvi_engine* engine = nullptr;
    const kvi_status status = kvi_engine_create(model_, options, &engine, nullptr);
    kvi_engine_release(engine);
    return status;
  });
  options_of_any_age_are_read(kvi_plan_options_init, [&](const kvi_plan_options* options) {
    kvi_plan plan;
    kvi_plan_init(&plan, sizeof plan);
    return kvi_plan_model(model_, options, &plan, nullptr);
  });
  options_of_any_age_are_read(kvi_session_options_init, [&](const kvi_session_options* options) {
    kvi_session* session = nullptr;
    const kvi_status status = kvi_session_create(engine_, options, &session, nullptr);
    kvi_session_release(session);
    return status;
  });
  options_of_any_age_are_read(kvi_generate_options_init, [&](const kvi_generate_options* options) {
    return kvi_generate(
        engine_, "once", 4, options, [](void*, const kvi_text*) -> int32_t { return KVI_STOP; },
        nullptr, nullptr, nullptr);
  });
  options_of_any_age_are_read(kvi_preload_options_init, [&](const kvi_preload_options* options) {
    const std::vector<int32_t> tokens(20, 1);
    kvi_prefix* prefix = nullptr;
    const kvi_status status = kvi_cache_preload(engine_, "a", 1, tokens.data(), 20, options,
                                                &prefix, nullptr);
    kvi_prefix_release(prefix);
    return status;
  });
  options_of_any_age_are_read(kvi_part_init, [&](const kvi_part* part) {
    return kvi_session_append(session_, part, 1, nullptr);
  });
}

// get(result): a call that writes a result.
template <typename T, typename Get>
void results_fit_callers_of_any_age(kvi_status (*init)(T*, size_t), const Get& get) {
  Newer<T> full;
  ASSERT_EQ(init(&full.known, sizeof full), KVI_OK);
  std::memset(full.more, 1, sizeof full.more);
  ASSERT_EQ(get(&full.known), KVI_OK);
  EXPECT_EQ(full.known.struct_size, sizeof full);
  for (unsigned char byte : full.more) EXPECT_EQ(byte, 0);
  for (size_t size = sizeof(uint32_t); size <= sizeof(T); size += 4) {
    T older;
    std::memset(&older, 0xa5, sizeof older);
    older.struct_size = static_cast<uint32_t>(size);
    ASSERT_EQ(get(&older), KVI_OK);
    const auto* bytes = reinterpret_cast<const unsigned char*>(&older);
    for (size_t i = size; i < sizeof(T); ++i)
      ASSERT_EQ(bytes[i], 0xa5) << "byte " << i << " of " << size;
  }
  for (uint32_t size : {0u, 3u, 4097u, UINT32_MAX}) {
    full.known.struct_size = size;
    EXPECT_EQ(get(&full.known), KVI_INVALID_ARGUMENT) << "struct_size " << size;
  }
}

TEST_F(CapiAbuse, ResultsFitOlderAndNewerCallers) {
  results_fit_callers_of_any_age(kvi_device_info_init,
                                 [](auto* out) { return kvi_device_get_info(0, out, nullptr); });
  results_fit_callers_of_any_age(
      kvi_model_info_init, [&](auto* out) { return kvi_model_get_info(model_, out, nullptr); });
  results_fit_callers_of_any_age(
      kvi_stats_init, [&](auto* out) { return kvi_engine_get_stats(engine_, out, nullptr); });
  results_fit_callers_of_any_age(
      kvi_plan_init, [&](auto* out) { return kvi_plan_model(model_, nullptr, out, nullptr); });
  results_fit_callers_of_any_age(kvi_session_info_init, [&](auto* out) {
    return kvi_session_get_info(session_, out, nullptr);
  });
  results_fit_callers_of_any_age(
      kvi_cache_stats_init, [&](auto* out) { return kvi_cache_get_stats(engine_, out, nullptr); });
  results_fit_callers_of_any_age(kvi_tier_stats_init, [&](auto* out) {
    return kvi_cache_get_tier_stats(engine_, KVI_TIER_DEVICE, out, nullptr);
  });
  const std::vector<int32_t> tokens(20, 1);
  results_fit_callers_of_any_age(kvi_probe_init, [&](auto* out) {
    return kvi_cache_probe(engine_, "a", 1, tokens.data(), 20, out, nullptr);
  });
  kvi_prefix* prefix = nullptr;
  ASSERT_EQ(kvi_cache_preload(engine_, "a", 1, tokens.data(), 20, nullptr, &prefix, nullptr),
            KVI_OK);
  results_fit_callers_of_any_age(
      kvi_prefix_info_init, [&](auto* out) { return kvi_prefix_get_info(prefix, out, nullptr); });
  kvi_prefix_release(prefix);
  kvi_budget* budget = nullptr;
  ASSERT_EQ(kvi_budget_create(1 << 20, &budget, nullptr), KVI_OK);
  results_fit_callers_of_any_age(
      kvi_budget_info_init, [&](auto* out) { return kvi_budget_get_info(budget, out, nullptr); });
  kvi_budget_release(budget);
  kvi_request* request = finished_request();
  results_fit_callers_of_any_age(
      kvi_usage_init, [&](auto* out) { return kvi_request_get_usage(request, out, nullptr); });
  kvi_request_release(request);
}

TEST_F(CapiAbuse, ArraysOfOlderAndNewerElementsAreWalkedByTheirSize) {
  size_t count = 0;
  kvi_session_truncate(session_, 0, nullptr);
  Newer<kvi_part> newer[3];
  for (auto& part : newer) {
    kvi_part_init(&part.known, sizeof part);
    part.known.text = "a";
    part.known.text_size = 1;
  }
  EXPECT_EQ(kvi_session_append(session_, &newer[0].known, 3, nullptr), KVI_OK);
  EXPECT_EQ(kvi_session_tokens(session_, nullptr, 0, &count, nullptr), KVI_OK);
  EXPECT_EQ(count, 3u);
  newer[2].known.struct_size = sizeof(kvi_part);  // of another age than the first
  EXPECT_EQ(kvi_session_append(session_, &newer[0].known, 3, nullptr), KVI_INVALID_ARGUMENT);
}

TEST_F(CapiAbuse, EventsAreWrittenAsFarApartAsTheirCallerSays) {
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.cache_events = 8;
  kvi_engine* engine = nullptr;
  ASSERT_EQ(kvi_engine_create(model_, &options, &engine, nullptr), KVI_OK);
  const std::vector<int32_t> tokens(48, 1);
  kvi_prefix* prefix = nullptr;
  ASSERT_EQ(kvi_cache_preload(engine, "a", 1, tokens.data(), 48, nullptr, &prefix, nullptr),
            KVI_OK);
  struct Older {
    uint32_t struct_size;
    int32_t kind, tier;
    uint32_t num_tokens;
    uint32_t mine;
  };
  Older older[3] = {{offsetof(Older, mine), 7, 7, 7, 0}, {}, {}};
  size_t count = 0;
  // The elements lie one after another, without what is the caller's own.
  ASSERT_EQ(kvi_cache_events(engine, reinterpret_cast<kvi_cache_event*>(older), 3, &count, nullptr),
            KVI_OK);
  ASSERT_EQ(count, 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    uint32_t fields[4];
    std::memcpy(fields, reinterpret_cast<const char*>(older) + i * sizeof fields, sizeof fields);
    EXPECT_EQ(fields[0], sizeof fields);
    EXPECT_EQ(fields[3], 16 * (i + 1));
  }
  EXPECT_EQ(older[2].mine, 0u);
  kvi_prefix_release(prefix);
  kvi_engine_release(engine);
}

TEST_F(CapiAbuse, TheLogsOwnerIsToldOnceHoweverItEnds) {
  int num_destroyed = 0;
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.log = [](void*, int32_t, const char*) {};
  options.log_user = &num_destroyed;
  options.log_destroy = [](void* user) { ++*static_cast<int*>(user); };
  kvi_engine* engine = nullptr;
  options.page_len = 17;
  EXPECT_EQ(kvi_engine_create(model_, &options, &engine, nullptr), KVI_INVALID_ARGUMENT);
  EXPECT_EQ(num_destroyed, 1);
  options.page_len = 16;
  EXPECT_EQ(kvi_engine_create(nullptr, &options, &engine, nullptr), KVI_INVALID_ARGUMENT);
  EXPECT_EQ(num_destroyed, 2);
  EXPECT_EQ(kvi_engine_create(model_, &options, &engine, nullptr), KVI_OK);
  EXPECT_EQ(kvi_engine_close(engine, KVI_FOREVER, nullptr), KVI_OK);
  kvi_engine_release(engine);
  EXPECT_EQ(num_destroyed, 3);
}

TEST(CapiPlan, PresetsAreStartingPointsThatMustFit) {
  kvi_model_shape shape;
  kvi_model_shape_init(&shape, sizeof shape);
  shape.num_layers = 32;
  shape.num_heads = 32;
  shape.num_kv_heads = 8;
  shape.embedding_len = 4096;
  shape.ffn_len = 14336;
  shape.vocab_size = 128256;
  shape.context_len = 131072;
  kvi_plan_options options;
  kvi_plan_options_init(&options, sizeof options);
  options.device_memory_bytes = uint64_t{80} << 30;
  options.swap_space_bytes = 0;
  kvi_plan plan;
  kvi_plan_init(&plan, sizeof plan);
  ASSERT_EQ(kvi_plan_options_preset(&options, KVI_PRESET_LONG_CONTEXT, nullptr), KVI_OK);
  EXPECT_EQ(options.device_memory_bytes, uint64_t{80} << 30);  // what a preset is not about stays
  EXPECT_EQ(options.swap_space_bytes, 0u);
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_plan_shape(&shape, &options, &plan, &error), KVI_EXHAUSTED);
  const std::string missing = std::to_string(kvi_error_needed(error) - kvi_error_available(error));
  EXPECT_NE(std::string(kvi_error_message(error)).find(missing), std::string::npos);
  kvi_error_release(error);

  options.max_num_seqs = 3;  // what is set afterwards counts
  ASSERT_EQ(kvi_plan_shape(&shape, &options, &plan, nullptr), KVI_OK);
  EXPECT_EQ(plan.missing_bytes, 0u);
  EXPECT_EQ(plan.sequence_len, 128000u);
  EXPECT_EQ(plan.page_len, 64u);
  EXPECT_EQ(plan.lower_first, KVI_LOWER_NOTHING);
  EXPECT_NE(std::string(plan.advice).find("3 sequences of 128000 tokens fit"), std::string::npos);

  options.kv_cache_dtype = "fp8";
  options.max_num_seqs = 4;
  ASSERT_EQ(kvi_plan_shape(&shape, &options, &plan, nullptr), KVI_OK);
  EXPECT_EQ(plan.kv_cache_dtype_runs, 0u);
}

TEST(CapiModel, MetadataOpensWithoutWeights) {
  kvi_model_options options;
  kvi_model_options_init(&options, sizeof options);
  options.load = KVI_LOAD_METADATA;
  kvi_model* model = nullptr;
  ASSERT_EQ(kvi_model_open(kModelPath.data(), kModelPath.size(), &options, &model, nullptr),
            KVI_OK);
  kvi_engine* engine = nullptr;
  expect_names([&](kvi_error** e) { return kvi_engine_create(model, nullptr, &engine, e); },
               "weights", KVI_INVALID_STATE);
  char value[256];
  EXPECT_EQ(kvi_model_metadata_value(model, "tokenizer.ggml.tokens", KVI_ZERO_TERMINATED, value,
                                     sizeof value, nullptr, nullptr),
            KVI_OK);
  EXPECT_STREQ(value, R"(["!","\"","#","$","%","&","'","(","... 282 more"])");
  kvi_model_release(model);
}

TEST_F(CapiAbuse, UsageSaysHowAGenerationEndedThatOnTextEnded) {
  const auto usage_of = [&](kvi_text_fn on_text, kvi_status expected, const char* word) {
    kvi_usage usage;
    EXPECT_EQ(CALL(kvi_usage_init, &usage, sizeof usage), KVI_OK);
    expect_names(
        [&](kvi_error** error) {
          return CALL(kvi_generate, engine_, "once", 4, nullptr, on_text, nullptr, &usage, error);
        },
        word, expected);
    return usage;
  };
  const kvi_text_fn invented = [](void*, const kvi_text*) -> int32_t { return 77; };
  const kvi_text_fn cancel = [](void*, const kvi_text*) -> int32_t { return KVI_CANCEL; };
  const kvi_text_fn throws = [](void*, const kvi_text*) -> int32_t { throw 77; };
  EXPECT_EQ(usage_of(invented, KVI_INVALID_ARGUMENT, "77").finish, KVI_FINISH_ERROR);
  EXPECT_EQ(usage_of(cancel, KVI_CANCELLED, "KVI_CANCEL").finish, KVI_FINISH_CANCELLED);
  const kvi_usage usage = usage_of(throws, KVI_CANCELLED, "on_text threw");
  EXPECT_EQ(usage.finish, KVI_FINISH_CANCELLED);
  EXPECT_GE(usage.generated_tokens, 1u);
}

// Callbacks are C; those of a C++ program may throw all the same.
TEST_F(CapiAbuse, WhatThrowsIsNamed) {
  const auto cancelled = [](const char* word, const std::function<kvi_status(kvi_error**)>& call) {
    expect_names(call, word, KVI_CANCELLED);
  };
  cancelled("write threw an exception: no room", [&](kvi_error** error) {
    return CALL(
        kvi_session_save_to, session_,
        [](void*, const void*, size_t) -> int32_t { throw std::runtime_error("no room"); }, nullptr,
        error);
  });
  cancelled("read threw", [&](kvi_error** error) {
    kvi_session* session = nullptr;
    return CALL(
        kvi_session_load_from, engine_, [](void*, void*, size_t, size_t*) -> int32_t { throw 1; },
        nullptr, nullptr, &session, nullptr, error);
  });
  cancelled("progress threw", [&](kvi_error** error) {
    kvi_model_options options;
    EXPECT_EQ(CALL(kvi_model_options_init, &options, sizeof options), KVI_OK);
    options.progress = [](void*, uint64_t, uint64_t) -> int32_t { throw 1; };
    kvi_model* model = nullptr;
    return CALL(kvi_model_open, kModelPath.data(), kModelPath.size(), &options, &model, error);
  });
}

}  // namespace
