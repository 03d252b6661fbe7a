// kvi_generate: a session and a request of its own, whose text is called out on the caller's thread.
#include <memory>
#include <optional>
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

// Hands a request's output to a callback.
class TextCalls {
 public:
  TextCalls(Request& request, kvi_text_fn on_text, void* user)
      : request_(request), on_text_(on_text), user_(user) {}

  // Until the end of the request, or another answer than KVI_CONTINUE, which it returns.
  int32_t run() {
    for (;;) {
      request_.wait_readable(std::nullopt);
      Finish finish = Finish::none;
      const size_t size = request_.read(text_, &finish);
      const size_t num_tokens = read_tokens();
      if (on_text_ != nullptr && (size > 0 || (finish != Finish::none && num_tokens > 0))) {
        const kvi_text piece = {text_.data(), size, tokens_.data(), num_tokens};
        int32_t answer = called("on_text", [&] { return on_text_(user_, &piece); });
        if (answer != KVI_CONTINUE) return answer;
        tokens_.clear();
      }
      if (finish != Finish::none) return KVI_CONTINUE;
    }
  }

 private:
  // Adds the ids that came since the last call; they wait for the text that they become.
  size_t read_tokens() {
    TokenId piece[64];
    for (;;) {
      const size_t num = request_.tokens(next_token_, piece, {});
      if (num == 0) return tokens_.size();
      tokens_.insert(tokens_.end(), piece, piece + num);
      next_token_ += num;
    }
  }

  Request& request_;
  const kvi_text_fn on_text_;
  void* const user_;
  std::vector<char> text_ = std::vector<char>(4096);
  std::vector<TokenId> tokens_;
  size_t next_token_ = 0;
};

int32_t finish_of(const Error& failure) {
  return failure.status() == Status::CANCELLED ? KVI_FINISH_CANCELLED : KVI_FINISH_ERROR;
}

void check_answer(int32_t answer) {
  switch (answer) {
    case KVI_CONTINUE:
    case KVI_STOP: return;
    case KVI_CANCEL: throw Error(Status::CANCELLED, "on_text answered KVI_CANCEL");
    default:
      reject_value("the answer of on_text", answer, "one of KVI_CONTINUE, KVI_STOP, KVI_CANCEL");
  }
}

// Ends a request that its caller has left, whatever way.
class CancelOnExit {
 public:
  explicit CancelOnExit(std::shared_ptr<Request> request) : request_(std::move(request)) {}
  ~CancelOnExit() { request_->cancel(CancelMode::rollback); }
  CancelOnExit(const CancelOnExit&) = delete;
  CancelOnExit& operator=(const CancelOnExit&) = delete;

 private:
  const std::shared_ptr<Request> request_;
};

}  // namespace

extern "C" kvi_status kvi_generate(kvi_engine* engine, const char* prompt, size_t prompt_size,
                                   const kvi_generate_options* options, kvi_text_fn on_text,
                                   void* user, kvi_usage* usage, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    if (usage != nullptr) require_result(usage, "usage");
    const std::shared_ptr<Engine> keep_alive = engine->engine;
    keep_alive->check_may_wait("generating");
    GenerateOptions known = generate_options_argument(options,
                                                      keep_alive->model()->config().vocab_size);
    const Part part = InputText{text_argument(prompt, prompt_size, "prompt"), {}};
    auto session = keep_alive->create_session();
    session->append({&part, 1});
    auto request = session->generate(std::move(known), nullptr);
    CancelOnExit cancel(request);

    bool is_stopped = false;
    std::optional<Error> failure;
    try {
      const int32_t answer = TextCalls(*request, on_text, user).run();
      check_answer(answer);
      is_stopped = answer == KVI_STOP;
      if (is_stopped) request->cancel(CancelMode::keep);
      request->await(std::nullopt);
    } catch (const Error& e) {
      failure = e;
    }
    if (usage != nullptr) {
      kvi_usage result = to_abi(request->usage());
      if (is_stopped) result.finish = KVI_FINISH_STOP;
      if (failure) result.finish = finish_of(*failure);
      write_struct(usage, result);
    }
    if (failure) throw *failure;  // what came before it was delivered, and counts
  });
}
