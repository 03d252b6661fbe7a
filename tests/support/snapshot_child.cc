// Goes on from a snapshot in a process of its own, for snapshot_process.h.
//   snapshot_child MODEL SNAPSHOT PAGE_LEN MAX_TOKENS
// prints a line of numbers (reason, tokens, tokens with K and V, cached tokens of the request), then the bits.
#include <cstdio>
#include <cstdlib>

#include "support/continuation.h"

namespace {

int failed(const char* what, kvi_error* error) {
  std::fprintf(stderr, "%s: %s\n", what, kvi_error_message(error));
  return 1;
}

}  // namespace

int main(int num_arguments, char** arguments) {
  if (num_arguments != 5) return 2;
  kvi_error* error = nullptr;
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.page_len = static_cast<uint32_t>(std::atoi(arguments[3]));
  kvi_engine* engine = nullptr;
  if (kvi_engine_open(arguments[1], KVI_ZERO_TERMINATED, &options, &engine, &error) != KVI_OK) {
    return failed("open", error);
  }
  kvi_session* session = nullptr;
  kvi_snapshot_result result;
  kvi_snapshot_result_init(&result, sizeof result);
  if (kvi_session_load(engine, arguments[2], KVI_ZERO_TERMINATED, nullptr, &session, &result,
                       &error) != KVI_OK) {
    return failed("load", error);
  }
  const kvi::Continuation next = kvi::continue_session(
      session, static_cast<uint32_t>(std::atoi(arguments[4])));
  std::printf("%d %u %u %u\n%s", result.reason, result.num_tokens, result.num_kv_tokens,
              next.cached_tokens, next.bits.c_str());
  kvi_session_release(session);
  kvi_engine_close(engine, KVI_FOREVER, nullptr);
  kvi_engine_release(engine);
  return next.status == KVI_OK ? 0 : 1;
}
