/* One system prompt for all: the operator computes and pins it once, and every tenant's request begins behind it. Tenants
 * see nothing else of each other. One thread serves them all.
 *
 *   shared_prefix model.gguf
 */
#include <kvinfer/kvinfer.h>
#include <stdio.h>
#include <string.h>

enum { NUM_TENANTS = 3, MAX_TOKENS = 1024 };

static const char kSystem[] =
    "You are the assistant of a small library. You answer in one short sentence, you never invent "
    "a book, and "
    "where you do not know something you say so. The library is open from nine to five, on "
    "Saturdays to noon. "
    "A book may be kept for four weeks, and once more as long if nobody else waits for it.\n\n";
static const char* const kTenants[NUM_TENANTS] = {"north", "south", "west"};
static const char* const kQuestions[NUM_TENANTS] = {
    "Question: When do you open?\nAnswer:", "Question: How long may I keep a book?\nAnswer:",
    "Question: Are you open on Saturday?\nAnswer:"};

typedef struct tenant {
  const char* name;
  kvi_session* session;
  kvi_request* request;
  char text[1024];
  size_t size;
} tenant;

/* The system prompt as tokens, so that it ends at the same token whatever comes after it. */
static kvi_status tokenize(kvi_engine* engine, int32_t* tokens, size_t* count, kvi_error** error) {
  kvi_model* model = NULL;
  kvi_status status = kvi_engine_model(engine, &model, error);
  if (status == KVI_OK)
    status = kvi_tokenize(model, kSystem, KVI_ZERO_TERMINATED, KVI_BOS_AUTO, KVI_SPECIAL_NO, tokens,
                          MAX_TOKENS, count, error);
  kvi_model_release(model);
  return status;
}

static kvi_status ask(kvi_engine* engine, const int32_t* tokens, size_t count, const char* question,
                      tenant* t, kvi_error** error) {
  kvi_session_options options;
  kvi_generate_options generate;
  kvi_part parts[2];
  kvi_session_options_init(&options, sizeof options);
  options.tenant = t->name; /* reads_shared is 1 unless it opts out */
  kvi_generate_options_init(&generate, sizeof generate);
  generate.max_tokens = 24;
  generate.user = t;
  kvi_part_init(&parts[0], sizeof parts[0]);
  kvi_part_init(&parts[1], sizeof parts[1]);
  parts[0].kind = KVI_PART_TOKENS;
  parts[0].tokens = tokens;
  parts[0].num_tokens = count;
  parts[1].text = question;
  kvi_status status = kvi_session_create(engine, &options, &t->session, error);
  if (status == KVI_OK) status = kvi_session_append(t->session, parts, 2, error);
  if (status == KVI_OK) status = kvi_session_generate(t->session, &generate, &t->request, error);
  return status;
}

static kvi_status print_probe(kvi_engine* engine, const char* name, const int32_t* tokens,
                              size_t count, kvi_error** error) {
  kvi_probe probe;
  kvi_probe_init(&probe, sizeof probe);
  kvi_status status = kvi_cache_probe(engine, name, strlen(name), tokens, count, &probe, error);
  if (status == KVI_OK)
    printf("%s: %u of %u tokens of the system prompt are cached, miss: %s\n", name,
           (unsigned)probe.first_miss, (unsigned)count, kvi_miss_reason_name(probe.miss_reason));
  return status;
}

/* Reads what is there. Returns 1 when the request has ended. */
static int take_text(tenant* t, kvi_status* status, kvi_error** error) {
  int32_t finish = KVI_FINISH_NONE;
  size_t size = 0;
  if (sizeof t->text - t->size < 4) return 1; /* enough */
  *status = kvi_request_read(t->request, t->text + t->size, sizeof t->text - t->size, &size,
                             &finish, error);
  t->size += size;
  if (finish == KVI_FINISH_ERROR) *status = kvi_request_await(t->request, 0, error);
  return finish != KVI_FINISH_NONE || *status != KVI_OK;
}

int main(int argc, char** argv) {
  static tenant tenants[NUM_TENANTS];
  static int32_t tokens[MAX_TOKENS];
  kvi_engine* engine = NULL;
  kvi_prefix* pin = NULL;
  kvi_error* error = NULL;
  kvi_preload_options preload;
  size_t count = 0;
  int num_running = 0, i;
  if (argc < 2) {
    fprintf(stderr, "usage: shared_prefix model.gguf\n");
    return 2;
  }
  kvi_preload_options_init(&preload, sizeof preload);
  preload.scope = KVI_SCOPE_SHARED;

  kvi_status status = kvi_engine_open(argv[1], KVI_ZERO_TERMINATED, NULL, &engine, &error);
  if (status == KVI_OK) status = tokenize(engine, tokens, &count, &error);
  if (status == KVI_OK) status = print_probe(engine, kTenants[0], tokens, count, &error);
  if (status == KVI_OK)
    status = kvi_cache_preload(engine, NULL, 0, tokens, count, &preload, &pin, &error);
  if (status == KVI_OK) status = print_probe(engine, kTenants[0], tokens, count, &error);
  for (i = 0; status == KVI_OK && i < NUM_TENANTS; ++i) {
    tenants[i].name = kTenants[i];
    status = ask(engine, tokens, count, kQuestions[i], &tenants[i], &error);
    num_running += status == KVI_OK;
  }
  while (status == KVI_OK && num_running > 0) {
    kvi_request* ready[NUM_TENANTS];
    size_t num_ready = 0, r;
    status = kvi_engine_wait(engine, ready, NUM_TENANTS, &num_ready, KVI_FOREVER, &error);
    for (r = 0; status == KVI_OK && r < num_ready; ++r) {
      tenant* t = kvi_request_user(ready[r]);
      kvi_usage usage;
      if (!take_text(t, &status, &error)) continue;
      kvi_usage_init(&usage, sizeof usage);
      kvi_request_get_usage(t->request, &usage, NULL);
      printf("%s: %u of %u prompt tokens cached, first token after %.0f ms:%.*s\n", t->name,
             (unsigned)usage.cached_tokens, (unsigned)usage.prompt_tokens, usage.ttft_ms,
             (int)t->size, t->text);
      kvi_request_release(t->request);
      t->request = NULL;
      --num_running;
    }
  }
  if (status != KVI_OK)
    fprintf(stderr, "%s: %s\n", kvi_status_name(status), kvi_error_message(error));

  for (i = 0; i < NUM_TENANTS; ++i) {
    kvi_request_release(tenants[i].request);
    kvi_session_release(tenants[i].session);
  }
  kvi_prefix_release(pin); /* from now on the prompt stays only while there is memory */
  kvi_error_release(error);
  kvi_engine_release(engine);
  return status != KVI_OK;
}
