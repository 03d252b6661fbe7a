// Teacher-forced scoring of given tokens.
#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

template <typename T>
std::span<T> output(T* out, size_t size) {
  return out != nullptr ? std::span<T>(out, size) : std::span<T>();
}

}  // namespace

extern "C" kvi_status kvi_score(kvi_engine* engine, const int32_t* tokens, size_t count,
                                size_t first, float* logprobs, int32_t* top1, float* logits,
                                kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    auto input = array_argument(tokens, count, "tokens");
    if (count < 2) {
      throw Error(Status::INVALID_ARGUMENT, concat("count is ", count, "; it must be at least 2"));
    }
    if (first < 1 || first >= count) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat("first is ", first, "; it must be from 1 to count - 1 = ", count - 1));
    }
    const size_t rows = count - first;
    const auto vocab_size = static_cast<size_t>(engine->engine->model()->config().vocab_size);
    engine->engine->score(input, first,
                          {.logprobs = output(logprobs, rows),
                           .top1 = output(top1, rows),
                           .logits = output(logits, rows * vocab_size)});
  });
}
