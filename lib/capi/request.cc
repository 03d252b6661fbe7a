// Requests: starting one, and taking what it brings.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "capi/arguments.h"
#include "capi/generate_options.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/usage.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr size_t kMinReadBytes = 4;  // the longest code point

CancelMode cancel_mode_argument(int32_t how) {
  switch (how) {
    case KVI_STOP: return CancelMode::keep;
    case KVI_CANCEL: return CancelMode::rollback;
    default: reject_value("how", how, "KVI_STOP or KVI_CANCEL");
  }
}

}  // namespace

namespace kvi::capi {

kvi_usage to_abi(const Usage& usage) {
  return {
      .struct_size = 0,
      .finish = static_cast<int32_t>(usage.finish),
      .prompt_tokens = usage.prompt_tokens,
      .cached_tokens = usage.cached_tokens,
      .generated_tokens = usage.generated_tokens,
      .queue_ms = usage.queue_ms,
      .ttft_ms = usage.ttft_ms,
      .tpot_ms = usage.tpot_ms,
      .total_ms = usage.total_ms,
      .host_tokens = usage.host_tokens,
      .disk_tokens = usage.disk_tokens,
      .num_preemptions = usage.num_preemptions,
  };
}

}  // namespace kvi::capi

extern "C" {

const char* kvi_finish_name(int32_t finish) {
  switch (finish) {
    case KVI_FINISH_NONE: return "none";
    case KVI_FINISH_EOS: return "eos";
    case KVI_FINISH_STOP: return "stop";
    case KVI_FINISH_LENGTH: return "length";
    case KVI_FINISH_CONTEXT: return "context";
    case KVI_FINISH_CANCELLED: return "cancelled";
    case KVI_FINISH_ERROR: return "error";
    default: return "unknown";
  }
}

kvi_status kvi_usage_init(kvi_usage* usage, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(usage, struct_size, kvi_usage{}); });
}

kvi_status kvi_session_generate(kvi_session* session, const kvi_generate_options* options,
                                kvi_request** out, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    require(out, "out");
    GenerateOptions known = generate_options_argument(
        options, session->engine->model()->config().vocab_size);
    auto handle = std::make_unique<kvi_request>();
    handle->engine = session->engine;
    handle->user = user_of(options);
    handle->request = session->session->generate(std::move(known), handle.get());
    *out = handle.release();
  });
}

void* kvi_request_user(const kvi_request* request) {
  return request != nullptr ? request->user : nullptr;
}

kvi_status kvi_request_read(kvi_request* request, char* buffer, size_t capacity, size_t* size,
                            int32_t* finish, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    require(buffer, "buffer");
    require(size, "size");
    check_room(buffer, capacity, 1, "buffer");
    if (capacity < kMinReadBytes) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat("capacity is ", capacity, "; it must be at least ", kMinReadBytes));
    }
    Finish ended = Finish::none;
    *size = request->request->read({buffer, capacity}, &ended);
    if (request->request->has_unread()) request->engine->name_again(request->request);
    if (finish != nullptr) *finish = static_cast<int32_t>(ended);
  });
}

kvi_status kvi_request_tokens(kvi_request* request, size_t first, int32_t* tokens, float* logprobs,
                              size_t capacity, size_t* count, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    require(count, "count");
    if (capacity > PTRDIFF_MAX / sizeof *tokens) {
      throw Error(Status::INVALID_ARGUMENT, concat("no buffer has a capacity of ", capacity));
    }
    std::span<TokenId> ids(tokens, tokens != nullptr ? capacity : 0);
    std::span<float> probs(logprobs, logprobs != nullptr ? capacity : 0);
    *count = request->request->tokens(first, ids, probs);
  });
}

kvi_status kvi_request_top_logprobs(kvi_request* request, size_t index, int32_t* tokens,
                                    float* logprobs, size_t capacity, size_t* count,
                                    kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    require(count, "count");
    std::vector<TokenLogprob> top = request->request->top_logprobs(index);
    if (capacity == 0) {
      *count = top.size();
      return;
    }
    const size_t num = std::min(capacity, top.size());
    for (size_t i = 0; i < num; ++i) {
      if (tokens != nullptr) tokens[i] = top[i].token;
      if (logprobs != nullptr) logprobs[i] = top[i].logprob;
    }
    *count = num;
  });
}

kvi_status kvi_request_wait(kvi_request* request, uint32_t timeout_ms, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    if (timeout_ms != 0) request->engine->check_may_wait("waiting");
    if (request->request->wait_readable(timeout_argument(timeout_ms))) return;
    throw Error(Status::TIMEOUT, concat("the request has had no text for ", timeout_ms, " ms"))
        .retryable();
  });
}

kvi_status kvi_request_await(kvi_request* request, uint32_t timeout_ms, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    if (timeout_ms != 0) request->engine->check_may_wait("waiting");
    if (request->request->await(timeout_argument(timeout_ms))) return;
    throw Error(Status::TIMEOUT, concat("the request still runs after ", timeout_ms, " ms"))
        .retryable();
  });
}

kvi_status kvi_request_cancel(kvi_request* request, int32_t how, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    request->request->cancel(cancel_mode_argument(how));
  });
}

kvi_status kvi_request_get_usage(kvi_request* request, kvi_usage* usage, kvi_error** error) {
  return guarded(error, [&] {
    require(request, "request");
    require_result(usage, "usage");
    write_struct(usage, to_abi(request->request->usage()));
  });
}

void kvi_request_release(kvi_request* request) {
  unless_forked([&] {
    if (request == nullptr) return;
    request->request->cancel(CancelMode::keep);
    request->engine->forget(*request->request);
    delete request;
  });
}

}  // extern "C"
