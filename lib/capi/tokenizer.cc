// Text to tokens and back, at once or as tokens come.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

// Lets one thread at a time use a decoder; a second one gets BUSY.
class OneUser {
 public:
  explicit OneUser(kvi_decoder& decoder) : in_use_(decoder.in_use) {
    if (in_use_.exchange(true, std::memory_order_acquire)) {
      throw Error(Status::BUSY, "another thread is using this decoder").retryable();
    }
  }
  ~OneUser() { in_use_.store(false, std::memory_order_release); }
  OneUser(const OneUser&) = delete;
  OneUser& operator=(const OneUser&) = delete;

 private:
  std::atomic<bool>& in_use_;
};

void give_out(kvi_decoder& decoder, std::string completed, const char** text, size_t* text_size) {
  decoder.text = std::move(completed);
  *text = decoder.text.c_str();
  *text_size = decoder.text.size();
}

}  // namespace

extern "C" {

kvi_status kvi_tokenize(const kvi_model* model, const char* text, size_t text_size, int32_t add_bos,
                        int32_t parse_special, int32_t* tokens, size_t capacity, size_t* count,
                        kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    std::string_view input = text_argument(text, text_size, "text");
    EncodeOptions options{add_bos_argument(add_bos), parse_special_argument(parse_special)};
    check_room(tokens, capacity, sizeof *tokens, "tokens");
    write_tokens(model->model->tokenizer().encode(input, options), tokens, capacity, count);
  });
}

kvi_status kvi_detokenize(const kvi_model* model, const int32_t* tokens, size_t count,
                          int32_t render_special, char* buffer, size_t capacity, size_t* needed,
                          kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    auto input = array_argument(tokens, count, "tokens");
    bool special = special_argument(render_special, "render_special");
    check_room(buffer, capacity, 1, "buffer");
    write_text(model->model->tokenizer().decode({input.begin(), input.end()}, special), buffer,
               capacity, needed);
  });
}

kvi_status kvi_decoder_create(kvi_model* model, int32_t render_special, kvi_decoder** out,
                              kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    require(out, "out");
    bool special = special_argument(render_special, "render_special");
    StreamDecoder decoder(model->model->tokenizer(), special);
    *out = new kvi_decoder{model->model, std::move(decoder), {}, {}};
  });
}

kvi_status kvi_decoder_push(kvi_decoder* decoder, int32_t token, const char** text,
                            size_t* text_size, kvi_error** error) {
  return guarded(error, [&] {
    require(decoder, "decoder");
    require(text, "text");
    require(text_size, "text_size");
    OneUser user(*decoder);
    give_out(*decoder, decoder->decoder.push(token), text, text_size);
  });
}

kvi_status kvi_decoder_finish(kvi_decoder* decoder, const char** text, size_t* text_size,
                              kvi_error** error) {
  return guarded(error, [&] {
    require(decoder, "decoder");
    require(text, "text");
    require(text_size, "text_size");
    OneUser user(*decoder);
    give_out(*decoder, decoder->decoder.finish(), text, text_size);
  });
}

void kvi_decoder_release(kvi_decoder* decoder) {
  unless_forked([&] { delete decoder; });
}

}  // extern "C"
