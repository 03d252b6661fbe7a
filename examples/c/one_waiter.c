/* One waiter: several requests run at once, and one thread serves them all, as a server or a frame loop does.
 *
 *   one_waiter model.gguf prompt...
 */
#include <kvinfer/kvinfer.h>
#include <stdio.h>

enum { MAX_REQUESTS = 16 };

typedef struct answer {
  const char* prompt;
  kvi_session* session;
  kvi_request* request;
  char text[4096];
  size_t size;
} answer;

static kvi_status ask(kvi_engine* engine, const char* prompt, answer* a, kvi_error** error) {
  kvi_generate_options options;
  a->prompt = prompt;
  kvi_generate_options_init(&options, sizeof options);
  options.max_tokens = 48;
  options.user = a;
  kvi_status status = kvi_session_create(engine, NULL, &a->session, error);
  if (status == KVI_OK)
    status = kvi_session_append_text(a->session, prompt, KVI_ZERO_TERMINATED, error);
  if (status == KVI_OK) status = kvi_session_generate(a->session, &options, &a->request, error);
  return status;
}

/* Reads what is there. Returns 1 when the request has ended. */
static int take_text(answer* a, kvi_status* status, kvi_error** error) {
  int32_t finish = KVI_FINISH_NONE;
  size_t size = 0;
  if (sizeof a->text - a->size < 4) return 1; /* enough */
  *status = kvi_request_read(a->request, a->text + a->size, sizeof a->text - a->size, &size,
                             &finish, error);
  a->size += size;
  if (finish == KVI_FINISH_ERROR) *status = kvi_request_await(a->request, 0, error);
  return finish != KVI_FINISH_NONE || *status != KVI_OK;
}

int main(int argc, char** argv) {
  static answer answers[MAX_REQUESTS];
  kvi_engine* engine = NULL;
  kvi_error* error = NULL;
  int num_requests = argc - 2, num_running = 0, i;
  if (num_requests < 1 || num_requests > MAX_REQUESTS) return 2;

  kvi_status status = kvi_engine_open(argv[1], KVI_ZERO_TERMINATED, NULL, &engine, &error);
  for (i = 0; status == KVI_OK && i < num_requests; ++i) {
    status = ask(engine, argv[2 + i], &answers[i], &error);
    num_running += status == KVI_OK;
  }
  while (status == KVI_OK && num_running > 0) {
    kvi_request* ready[MAX_REQUESTS];
    size_t count = 0, r;
    status = kvi_engine_wait(engine, ready, MAX_REQUESTS, &count, KVI_FOREVER, &error);
    for (r = 0; r < count; ++r) {
      answer* a = kvi_request_user(ready[r]);
      if (!take_text(a, &status, &error)) continue;
      printf("%s%.*s\n\n", a->prompt, (int)a->size, a->text);
      kvi_request_release(a->request);
      a->request = NULL;
      --num_running;
    }
  }
  if (status != KVI_OK)
    fprintf(stderr, "%s: %s\n", kvi_status_name(status), kvi_error_message(error));

  for (i = 0; i < num_requests; ++i) {
    kvi_request_release(answers[i].request);
    kvi_session_release(answers[i].session);
  }
  kvi_error_release(error);
  kvi_engine_release(engine);
  return status != KVI_OK;
}
