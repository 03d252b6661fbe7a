/* First text: opens a model and prints what it makes of a prompt.
 *
 *   first_text model.gguf
 */
#include <kvinfer/kvinfer.h>
#include <stdio.h>

static int32_t on_text(void* user,
                       const kvi_text* text) { /* whole UTF-8 code points, on this thread */
  fwrite(text->bytes, 1, text->size, (FILE*)user);
  fflush((FILE*)user);
  return KVI_CONTINUE; /* or KVI_STOP (keep), KVI_CANCEL (roll back) */
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: first_text model.gguf\n");
    return 2;
  }
  kvi_engine* engine = NULL;
  kvi_error* error = NULL;
  kvi_status status = kvi_engine_open(argv[1], KVI_ZERO_TERMINATED, NULL, &engine, &error);
  if (status == KVI_OK) {
    status = kvi_generate(engine, "Once upon a time", KVI_ZERO_TERMINATED, NULL, on_text, stdout,
                          NULL, &error);
  }
  if (status != KVI_OK) fprintf(stderr, "%s\n", kvi_error_message(error));
  kvi_error_release(error); /* NULL is fine, here and everywhere */
  kvi_engine_release(engine);
  return status != KVI_OK;
}
