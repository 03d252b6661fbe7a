/* The C interface from C11: its conventions, and a text generated in every way that it offers.
 *
 *   capi_test MODEL    exits with 0, or names the first line that fails
 */
#include <kvinfer/kvinfer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

/* A call that must succeed. */
#define OK(call)                                                                                 \
  do {                                                                                           \
    kvi_error* failure = NULL;                                                                   \
    kvi_error** error = &failure;                                                                \
    kvi_status status = (call);                                                                  \
    if (status != KVI_OK) {                                                                      \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, kvi_status_name(status), \
              kvi_error_message(failure));                                                       \
      exit(1);                                                                                   \
    }                                                                                            \
    CHECK(failure == NULL); /* written only on failure */                                        \
    (void)error;                                                                                 \
  } while (0)

static void statuses_have_names(void) {
#define CHECK_STATUS(name, value, text)           \
  CHECK(KVI_##name == value && strlen(text) > 0); \
  CHECK(strcmp(kvi_status_name(value), #name) == 0);
  KVI_STATUS_MAP(CHECK_STATUS)
#undef CHECK_STATUS
  CHECK(strcmp(kvi_status_name(-1), "UNKNOWN") == 0);
  CHECK(strcmp(kvi_status_name(INT32_MAX), "UNKNOWN") == 0);
  CHECK(strcmp(kvi_finish_name(KVI_FINISH_EOS), "eos") == 0);
  CHECK(strcmp(kvi_finish_name(99), "unknown") == 0);
}

static void version_and_features_are_those_of_the_header(void) {
  CHECK(kvi_version() == (KVI_VERSION_MAJOR << 16 | KVI_VERSION_MINOR << 8 | KVI_VERSION_PATCH));
  CHECK(kvi_has_feature("cpu") == 1);
  CHECK(kvi_has_feature("gguf") == 1);
  CHECK(kvi_has_feature("telepathy") == 0);
  CHECK(kvi_has_feature(NULL) == 0);
  kvi_device_info device;
  OK(kvi_device_info_init(&device, sizeof device));
  CHECK(kvi_device_count() >= 1);
  OK(kvi_device_get_info(0, &device, error));
  CHECK(strcmp(device.name, "cpu") == 0 && device.num_threads >= 1 && strlen(device.arch) > 0);
}

static void null_is_harmless(void) {
  CHECK(kvi_error_code(NULL) == KVI_OK);
  CHECK(strcmp(kvi_error_message(NULL), "") == 0);
  CHECK(kvi_error_retryable(NULL) == 0);
  CHECK(kvi_error_needed(NULL) == 0 && kvi_error_available(NULL) == 0);
  CHECK(kvi_model_metadata_count(NULL) == 0);
  kvi_error_release(NULL);
  kvi_model_release(NULL);
  kvi_decoder_release(NULL);
  kvi_engine_release(NULL);
  kvi_session_release(NULL);
  kvi_request_release(NULL);
}

static void defaults_are_those_of_the_header(void) {
  kvi_engine_options engine;
  OK(kvi_engine_options_init(&engine, sizeof engine));
  CHECK(engine.struct_size == sizeof engine && engine.max_model_len == KVI_AUTO &&
        engine.max_sequences == 16 && engine.max_batch_tokens == 512 && engine.max_queued == 1024 &&
        engine.page_len == 16 && engine.num_threads == KVI_AUTO &&
        engine.activations == KVI_ACTIVATIONS_INT8 && engine.kv_budget_bytes == (uint64_t)1 << 30 &&
        engine.log == NULL && engine.log_destroy == NULL);
  kvi_generate_options generate;
  OK(kvi_generate_options_init(&generate, sizeof generate));
  CHECK(generate.max_tokens == 256 && generate.temperature == 0.8f && generate.top_k == 40 &&
        generate.top_p == 0.95f && generate.min_p == 0.05f && generate.repetition_penalty == 1 &&
        generate.presence_penalty == 0 && generate.frequency_penalty == 0 &&
        generate.top_logprobs == -1 && generate.seed == 0 && generate.ignore_eos == 0 &&
        generate.num_stops == 0 && generate.num_biases == 0 && generate.timeout_ms == KVI_FOREVER &&
        generate.user == NULL);
  kvi_model_options model;
  OK(kvi_model_options_init(&model, sizeof model));
  CHECK(model.load == KVI_LOAD_WEIGHTS && model.device == 0 && model.num_threads == KVI_AUTO &&
        model.progress == NULL);
}

static void errors_say_what_and_where(void) {
  kvi_error* error = NULL;
  kvi_model* model = NULL;
  kvi_status status = kvi_model_open("/no/such/model.gguf", KVI_ZERO_TERMINATED, NULL, &model,
                                     &error);
  CHECK(status == KVI_NOT_FOUND && kvi_error_code(error) == KVI_NOT_FOUND);
  CHECK(strstr(kvi_error_message(error), "/no/such/model.gguf") != NULL);
  CHECK(model == NULL);
  kvi_error_release(error);
}

static void texts_tell_their_size_and_are_never_cut(const kvi_model* model) {
  size_t needed = 0;
  char buffer[64];
  kvi_error* error = NULL;
  OK(kvi_model_text(model, KVI_MODEL_ARCHITECTURE, NULL, 0, &needed, error));
  CHECK(needed == 5);
  memset(buffer, '?', sizeof buffer);
  CHECK(kvi_model_text(model, KVI_MODEL_ARCHITECTURE, buffer, 4, &needed, &error) ==
        KVI_BUFFER_TOO_SMALL);
  CHECK(needed == 5 && buffer[0] == '?' && kvi_error_needed(error) == 5 &&
        kvi_error_available(error) == 4);
  kvi_error_release(error);
  OK(kvi_model_text(model, KVI_MODEL_ARCHITECTURE, buffer, 5, &needed, error));
  CHECK(memcmp(buffer, "llama?", 6) == 0); /* no room for a NUL */
  OK(kvi_model_text(model, KVI_MODEL_ARCHITECTURE, buffer, 6, NULL, error));
  CHECK(strcmp(buffer, "llama") == 0);
  CHECK(kvi_model_text(model, KVI_MODEL_ARCHITECTURE, NULL, 0, NULL, NULL) == KVI_INVALID_ARGUMENT);
}

static void tokens_become_text_again(kvi_model* model) {
  const char* text = "h\xc3\xa9llo the world";
  int32_t tokens[64];
  size_t count = 0, needed = 0, i, size = 0, total = 0;
  char buffer[64], streamed[64] = "";
  const char* piece = NULL;
  kvi_decoder* decoder = NULL;
  OK(kvi_tokenize(model, text, KVI_ZERO_TERMINATED, KVI_BOS_NO, KVI_SPECIAL_NO, tokens, 64, &count,
                  error));
  CHECK(count > 0 && count < 20);
  OK(kvi_detokenize(model, tokens, count, KVI_SPECIAL_NO, buffer, sizeof buffer, &needed, error));
  CHECK(strcmp(buffer, text) == 0);
  OK(kvi_decoder_create(model, KVI_SPECIAL_NO, &decoder, error));
  for (i = 0; i < count; ++i) {
    OK(kvi_decoder_push(decoder, tokens[i], &piece, &size, error));
    memcpy(streamed + total, piece, size);
    total += size;
  }
  OK(kvi_decoder_finish(decoder, &piece, &size, error));
  CHECK(size == 0 && total == strlen(text) && memcmp(streamed, text, total) == 0);
  kvi_decoder_release(decoder);
}

typedef struct collected {
  char text[4096];
  size_t size, num_tokens, num_calls;
  int32_t answer;
} collected;

static int32_t KVI_CALL collect(void* user, const kvi_text* text) {
  collected* all = user;
  CHECK(all->size + text->size < sizeof all->text);
  memcpy(all->text + all->size, text->bytes, text->size);
  all->size += text->size;
  all->num_tokens += text->num_tokens;
  ++all->num_calls;
  return all->answer;
}

static kvi_generate_options greedy(uint32_t max_tokens) {
  kvi_generate_options options;
  OK(kvi_generate_options_init(&options, sizeof options));
  options.max_tokens = max_tokens;
  options.temperature = 0;
  options.ignore_eos = 1;
  return options;
}

static void blocking_and_pulled_text_are_the_same(kvi_engine* engine) {
  kvi_generate_options options = greedy(24);
  collected all = {.answer = KVI_CONTINUE};
  kvi_usage usage;
  OK(kvi_usage_init(&usage, sizeof usage));
  OK(kvi_generate(engine, "once upon a time", KVI_ZERO_TERMINATED, &options, collect, &all, &usage,
                  error));
  CHECK(usage.finish == KVI_FINISH_LENGTH && usage.generated_tokens == 24 && all.num_tokens == 24);

  kvi_session* session = NULL;
  kvi_request* request = NULL;
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_session_append_text(session, "once upon a time", KVI_ZERO_TERMINATED, error));
  OK(kvi_session_generate(session, &options, &request, error));
  char text[4096];
  size_t total = 0;
  int32_t finish = KVI_FINISH_NONE;
  while (finish == KVI_FINISH_NONE) {
    kvi_request* ready[4];
    size_t count = 0, size = 0;
    OK(kvi_engine_wait(engine, ready, 4, &count, KVI_FOREVER, error));
    CHECK(count == 1 && ready[0] == request);
    OK(kvi_request_read(request, text + total, sizeof text - total, &size, &finish, error));
    total += size;
  }
  CHECK(finish == KVI_FINISH_LENGTH && total == all.size && memcmp(text, all.text, total) == 0);
  OK(kvi_request_await(request, 0, error));
  kvi_request_release(request);

  kvi_session_info info;
  OK(kvi_session_info_init(&info, sizeof info));
  OK(kvi_session_get_info(session, &info, error));
  CHECK(info.num_tokens == usage.prompt_tokens + 24 && info.busy == 0 && info.kv_bytes > 0);
  kvi_session_release(session);
}

static void no_tokens_means_the_prompt_is_computed(kvi_engine* engine) {
  kvi_generate_options options = greedy(0);
  kvi_session* session = NULL;
  kvi_request* request = NULL;
  kvi_session_info info;
  kvi_usage usage;
  char text[8];
  size_t size = 1;
  int32_t finish = KVI_FINISH_NONE;
  OK(kvi_usage_init(&usage, sizeof usage));
  OK(kvi_session_info_init(&info, sizeof info));
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_session_append_text(session, "once upon a time", KVI_ZERO_TERMINATED, error));
  OK(kvi_session_generate(session, &options, &request, error));
  OK(kvi_request_await(request, KVI_FOREVER, error));
  OK(kvi_request_read(request, text, sizeof text, &size, &finish, error));
  CHECK(size == 0 && finish == KVI_FINISH_LENGTH);
  OK(kvi_request_get_usage(request, &usage, error));
  OK(kvi_session_get_info(session, &info, error));
  CHECK(usage.finish == KVI_FINISH_LENGTH && usage.generated_tokens == 0);
  CHECK(usage.prompt_tokens > 1 && usage.prompt_tokens == info.num_tokens &&
        info.num_computed_tokens == info.num_tokens);
  kvi_request_release(request);
  kvi_session_release(session);

  collected all = {.answer = KVI_CONTINUE};
  OK(kvi_generate(engine, "once upon", 9, &options, collect, &all, &usage, error));
  CHECK(all.size == 0 && all.num_calls == 0 && usage.finish == KVI_FINISH_LENGTH &&
        usage.prompt_tokens > 0 && usage.generated_tokens == 0);
}

static void callbacks_stop_and_cancel(kvi_engine* engine) {
  kvi_generate_options options = greedy(200);
  collected all = {.answer = KVI_STOP};
  kvi_usage usage;
  kvi_error* error = NULL;
  OK(kvi_usage_init(&usage, sizeof usage));
  OK(kvi_generate(engine, "once", 4, &options, collect, &all, &usage, error));
  /* How far the engine came meanwhile is a matter of luck; what it made is not shown. */
  CHECK(all.num_calls == 1 && usage.finish == KVI_FINISH_STOP && usage.generated_tokens >= 1);
  all.answer = KVI_CANCEL;
  CHECK(kvi_generate(engine, "once", 4, &options, collect, &all, &usage, &error) == KVI_CANCELLED);
  kvi_error_release(error);
  error = NULL;
  all.answer = 7;
  CHECK(kvi_generate(engine, "once", 4, &options, collect, &all, &usage, &error) ==
        KVI_INVALID_ARGUMENT);
  CHECK(strstr(kvi_error_message(error), "7") != NULL);
  kvi_error_release(error);
}

static void a_cancelled_request_rolls_back(kvi_engine* engine) {
  kvi_generate_options options = greedy(200);
  kvi_session* session = NULL;
  kvi_request* request = NULL;
  size_t before = 0, after = 0;
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_session_append_text(session, "once upon", 9, error));
  OK(kvi_session_tokens(session, NULL, 0, &before, error));
  OK(kvi_session_generate(session, &options, &request, error));
  CHECK(kvi_session_append_text(session, "x", 1, NULL) == KVI_BUSY ||
        kvi_request_await(request, 0, NULL) == KVI_OK);
  OK(kvi_request_wait(request, KVI_FOREVER, error));
  OK(kvi_request_cancel(request, KVI_CANCEL, error));
  OK(kvi_request_await(request, KVI_FOREVER, error));
  kvi_usage usage;
  OK(kvi_usage_init(&usage, sizeof usage));
  OK(kvi_request_get_usage(request, &usage, error));
  OK(kvi_session_tokens(session, NULL, 0, &after, error));
  CHECK(usage.finish == KVI_FINISH_LENGTH ||
        (usage.finish == KVI_FINISH_CANCELLED && before == after));
  kvi_request_release(request);
  kvi_session_release(session);
}

static void logprobs_agree_with_scores(kvi_engine* engine) {
  kvi_generate_options options = greedy(8);
  kvi_session* session = NULL;
  kvi_request* request = NULL;
  int32_t tokens[64], generated[8], top1[63], top[4];
  float logprobs[8], scores[63], top_logprobs[4];
  size_t count = 0, num_generated = 0, num_top = 0, i;
  options.top_logprobs = 4;
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_session_append_text(session, "once upon a time", KVI_ZERO_TERMINATED, error));
  OK(kvi_session_generate(session, &options, &request, error));
  OK(kvi_request_await(request, KVI_FOREVER, error));
  OK(kvi_request_tokens(request, 0, generated, logprobs, 8, &num_generated, error));
  OK(kvi_session_tokens(session, tokens, 64, &count, error));
  CHECK(num_generated == 8 && count > 8);
  OK(kvi_score(engine, tokens, count, 1, scores, top1, NULL, error));
  for (i = 0; i < 8; ++i) {
    const size_t place = count - 8 + i;
    CHECK(tokens[place] == generated[i] && top1[place - 1] == generated[i]);
    CHECK(scores[place - 1] == logprobs[i]); /* bitwise: however it was computed */
    OK(kvi_request_top_logprobs(request, i, top, top_logprobs, 4, &num_top, error));
    CHECK(num_top == 4 && top[0] == generated[i] && top_logprobs[0] == logprobs[i] &&
          top_logprobs[1] <= logprobs[i]);
  }
  CHECK(kvi_request_top_logprobs(request, 8, top, top_logprobs, 4, &num_top, NULL) ==
        KVI_NOT_FOUND);
  kvi_request_release(request);
  kvi_session_release(session);
}

/* What a loop around kvi_engine_wait keeps of a request. */
typedef struct job {
  size_t size;
  int32_t finish;
} job;

static void a_waiter_finds_its_own_object(kvi_engine* engine) {
  kvi_session* sessions[3];
  job jobs[3] = {{0, 0}};
  int i, num_running = 3;
  for (i = 0; i < 3; ++i) {
    kvi_generate_options options = greedy(5 + (uint32_t)i);
    kvi_request* request = NULL;
    options.user = &jobs[i];
    OK(kvi_session_create(engine, NULL, &sessions[i], error));
    OK(kvi_session_append_text(sessions[i], "once upon", 9, error));
    OK(kvi_session_generate(sessions[i], &options, &request, error));
    CHECK(kvi_request_user(request) == &jobs[i]);
  }
  while (num_running > 0) {
    kvi_request* ready[3];
    char text[256];
    size_t count = 0, size = 0, r;
    OK(kvi_engine_wait(engine, ready, 3, &count, KVI_FOREVER, error));
    for (r = 0; r < count; ++r) {
      job* its = kvi_request_user(ready[r]);
      CHECK(its >= jobs && its < jobs + 3);
      OK(kvi_request_read(ready[r], text, sizeof text, &size, &its->finish, error));
      its->size += size;
      if (its->finish == KVI_FINISH_NONE) continue;
      kvi_request_release(ready[r]);
      --num_running;
    }
  }
  for (i = 0; i < 3; ++i) {
    CHECK(jobs[i].size > 0 && jobs[i].finish == KVI_FINISH_LENGTH);
    kvi_session_release(sessions[i]);
  }
  CHECK(kvi_request_user(NULL) == NULL);
}

static void structs_take_texts_without_their_sizes(kvi_engine* engine) {
  kvi_session* session = NULL;
  kvi_part part;
  kvi_message message;
  size_t count = 0, expected = 0;
  kvi_error* error = NULL;
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_part_init(&part, sizeof part));
  OK(kvi_session_append(session, &part, 1, error)); /* NULL: empty */
  part.text = "once upon";
  OK(kvi_session_append(session, &part, 1, error));
  OK(kvi_session_tokens(session, NULL, 0, &count, error));
  OK(kvi_session_truncate(session, 0, error));
  OK(kvi_session_append_text(session, "once upon", 9, error));
  OK(kvi_session_tokens(session, NULL, 0, &expected, error));
  CHECK(count > 0 && count == expected);
  OK(kvi_message_init(&message, sizeof message));
  message.content = "Hi";
  CHECK(kvi_session_set_messages(session, &message, 1, NULL, 0, NULL, &error) ==
        KVI_INVALID_ARGUMENT);
  CHECK(strstr(kvi_error_message(error), "role") != NULL);
  kvi_error_release(error);
  kvi_session_release(session);
}

/* One page of each layer group, or a few: what 200 tokens never fit. */
static void a_prompt_that_never_fits_is_refused_at_once(kvi_model* model) {
  enum { NUM_TOKENS = 200 };
  kvi_engine_options options;
  kvi_generate_options generate = greedy(256);
  kvi_engine* engine = NULL;
  kvi_session* session = NULL;
  kvi_request* request = NULL;
  kvi_part part;
  kvi_plan plan;
  kvi_usage usage;
  kvi_error* error = NULL;
  collected all = {.answer = KVI_CONTINUE};
  char budget[32];
  int32_t tokens[NUM_TOKENS];
  int i;
  for (i = 0; i < NUM_TOKENS; ++i) tokens[i] = 65;
  OK(kvi_engine_options_init(&options, sizeof options));
  OK(kvi_plan_init(&plan, sizeof plan));
  OK(kvi_plan_model(model, NULL, &plan, error));
  options.num_threads = 1;
  options.kv_budget_bytes = plan.kv_bytes_per_token * 64;
  OK(kvi_engine_create(model, &options, &engine, error));
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_part_init(&part, sizeof part));
  part.kind = KVI_PART_TOKENS;
  part.tokens = tokens;
  part.num_tokens = NUM_TOKENS;
  OK(kvi_session_append(session, &part, 1, error));
  CHECK(kvi_session_generate(session, NULL, &request, &error) == KVI_EXHAUSTED);
  snprintf(budget, sizeof budget, "%llu", (unsigned long long)options.kv_budget_bytes);
  CHECK(request == NULL && !kvi_error_retryable(error) &&
        kvi_error_available(error) == options.kv_budget_bytes &&
        kvi_error_needed(error) > options.kv_budget_bytes);
  CHECK(strstr(kvi_error_message(error), budget) != NULL &&
        strstr(kvi_error_message(error), "kv_budget_bytes") != NULL);
  kvi_error_release(error);
  kvi_session_release(session);

  /* What was delivered before the pages gave out is counted. */
  error = NULL;
  OK(kvi_usage_init(&usage, sizeof usage));
  CHECK(kvi_generate(engine, "once upon", 9, &generate, collect, &all, &usage, &error) ==
        KVI_EXHAUSTED);
  CHECK(!kvi_error_retryable(error));
  CHECK(usage.finish == KVI_FINISH_ERROR && usage.generated_tokens > 0 &&
        usage.generated_tokens == all.num_tokens && usage.prompt_tokens > 0);
  kvi_error_release(error);
  kvi_engine_release(engine);
}

static void a_closed_engine_says_so(kvi_engine* engine) {
  kvi_session *session = NULL, *late = NULL;
  OK(kvi_session_create(engine, NULL, &session, error));
  OK(kvi_engine_close(engine, KVI_FOREVER, error));
  OK(kvi_engine_close(engine, 0, error));
  CHECK(kvi_session_create(engine, NULL, &late, NULL) == KVI_CLOSED);
  CHECK(kvi_session_append_text(session, "x", 1, NULL) == KVI_CLOSED);
  kvi_session_release(session);
}

static kvi_engine* open_engine(kvi_model* model) {
  kvi_engine_options options;
  kvi_engine* engine = NULL;
  OK(kvi_engine_options_init(&options, sizeof options));
  options.num_threads = 1;
  options.kv_budget_bytes = 64 << 20;
  OK(kvi_engine_create(model, &options, &engine, error));
  return engine;
}

int main(int argc, char** argv) {
  kvi_model* model = NULL;
  kvi_engine* engine;
  if (argc < 2) return 2;
  statuses_have_names();
  version_and_features_are_those_of_the_header();
  null_is_harmless();
  defaults_are_those_of_the_header();
  errors_say_what_and_where();
  OK(kvi_model_open(argv[1], KVI_ZERO_TERMINATED, NULL, &model, error));
  texts_tell_their_size_and_are_never_cut(model);
  tokens_become_text_again(model);
  a_prompt_that_never_fits_is_refused_at_once(model);
  engine = open_engine(model);
  kvi_model_release(model); /* the engine keeps it */
  blocking_and_pulled_text_are_the_same(engine);
  no_tokens_means_the_prompt_is_computed(engine);
  callbacks_stop_and_cancel(engine);
  a_cancelled_request_rolls_back(engine);
  logprobs_agree_with_scores(engine);
  a_waiter_finds_its_own_object(engine);
  structs_take_texts_without_their_sizes(engine);
  a_closed_engine_says_so(engine);
  kvi_engine_release(engine);
  puts("the C interface keeps its conventions");
  return 0;
}
