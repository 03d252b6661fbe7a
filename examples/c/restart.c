/* A prompt that is computed once and found on the disk after a restart: run it twice with the same folder. The first run
 * computes the whole prompt; the second one reads its pages from the folder and computes what is left.
 *
 *   restart model.gguf folder
 */
#include <kvinfer/kvinfer.h>
#include <stdio.h>

static const char kPrompt[] =
    "The library is open from nine to five, on Saturdays to noon. A book may be kept for four "
    "weeks, and once more as long if nobody else waits for it. Children have a room of their own "
    "on the first floor, where stories are read every Wednesday afternoon. Who comes for the first "
    "time gets a card at the desk.\nQuestion: How long may I keep a book?\nAnswer:";

int main(int argc, char** argv) {
  kvi_engine_options options;
  kvi_generate_options generate;
  kvi_usage usage;
  kvi_engine* engine = NULL;
  kvi_session* session = NULL;
  kvi_request* request = NULL;
  kvi_error* error = NULL;
  if (argc < 3) {
    fprintf(stderr, "usage: restart model.gguf folder\n");
    return 2;
  }
  kvi_engine_options_init(&options, sizeof options);
  options.disk_cache_folder = argv[2]; /* is made if it is missing; what is above it must exist */
  options.disk_cache_bytes = (uint64_t)1 << 30; /* of the disk, at most */
  kvi_generate_options_init(&generate, sizeof generate);
  generate.max_tokens = 16;
  kvi_usage_init(&usage, sizeof usage);

  kvi_status status = kvi_engine_open(argv[1], KVI_ZERO_TERMINATED, &options, &engine, &error);
  if (status == KVI_OK) status = kvi_session_create(engine, NULL, &session, &error);
  if (status == KVI_OK)
    status = kvi_session_append_text(session, kPrompt, KVI_ZERO_TERMINATED, &error);
  if (status == KVI_OK) status = kvi_session_generate(session, &generate, &request, &error);
  if (status == KVI_OK) status = kvi_request_await(request, KVI_FOREVER, &error);
  if (status == KVI_OK) status = kvi_request_get_usage(request, &usage, &error);
  if (status == KVI_OK)
    printf(
        "%u of %u prompt tokens were cached, %u of them on the disk; first token after %.0f ms\n",
        (unsigned)usage.cached_tokens, (unsigned)usage.prompt_tokens, (unsigned)usage.disk_tokens,
        usage.ttft_ms);

  /* Pages go to the disk in the background, once no session holds them. Closing waits for those on their way. */
  kvi_request_release(request);
  kvi_session_release(session);
  if (status == KVI_OK) status = kvi_engine_close(engine, KVI_FOREVER, &error);
  if (status != KVI_OK)
    fprintf(stderr, "%s: %s\n", kvi_status_name(status), kvi_error_message(error));
  kvi_error_release(error);
  kvi_engine_release(engine);
  return status != KVI_OK;
}
