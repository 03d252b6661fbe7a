// Models: what they are, and text to tokens and back.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_MODEL_HPP_
#define KVINFER_MODEL_HPP_

#include <kvinfer/errors.hpp>
#include <kvinfer/options.hpp>
#include <kvinfer/plan.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvinfer {

enum class AddBos : int32_t { automatic = KVI_BOS_AUTO, yes = KVI_BOS_YES, no = KVI_BOS_NO };
enum class Special : int32_t { no = KVI_SPECIAL_NO, yes = KVI_SPECIAL_YES };

struct Message {
  std::string role, content;
};

namespace detail {

inline std::vector<kvi_message> raw_messages(const std::vector<Message>& messages) {
  std::vector<kvi_message> raw(messages.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    kvi_message_init(&raw[i], sizeof raw[i]);
    raw[i].role = messages[i].role.data();
    raw[i].role_size = messages[i].role.size();
    raw[i].content = messages[i].content.data();
    raw[i].content_size = messages[i].content.size();
  }
  return raw;
}

}  // namespace detail

// Incremental text of tokens: whole code points. One thread at a time.
class Decoder {
 public:
  explicit Decoder(detail::Handle<kvi_decoder> handle) : handle_(std::move(handle)) {}
  kvi_decoder* raw() const { return handle_.get(); }

  // The text that token completes.
  Result<std::string> try_push(int32_t token) {
    return take([&](const char** text, size_t* size, kvi_error** error) {
      return kvi_decoder_push(raw(), token, text, size, error);
    });
  }
  Result<std::string> try_finish() {
    return take([&](const char** text, size_t* size, kvi_error** error) {
      return kvi_decoder_finish(raw(), text, size, error);
    });
  }

#if KVINFER_EXCEPTIONS
  std::string push(int32_t token) { return try_push(token).value(); }
  std::string finish() { return try_finish().value(); }
#endif

 private:
  template <typename Call>
  static Result<std::string> take(const Call& call) {
    const char* text = nullptr;
    size_t size = 0;
    Result<void> result = detail::check(
        [&](kvi_error** error) { return call(&text, &size, error); });
    if (!result) return result.error();
    return std::string(text, size);
  }

  detail::Handle<kvi_decoder> handle_;
};

class Model {
 public:
  static Result<Model> try_open(std::string_view path, const ModelOptions& options = {}) {
    return options.with_raw([&](const kvi_model_options* raw_options) {
      return detail::make<Model, kvi_model>([&](kvi_model** out, kvi_error** error) {
        return kvi_model_open(path.data(), path.size(), raw_options, out, error);
      });
    });
  }
  explicit Model(detail::Handle<kvi_model> handle) : handle_(std::move(handle)) {}
  kvi_model* raw() const { return handle_.get(); }

  Result<kvi_model_info> try_info() const {
    kvi_model_info info;
    kvi_model_info_init(&info, sizeof info);
    return detail::get(info, [&](kvi_model_info& out, kvi_error** error) {
      return kvi_model_get_info(raw(), &out, error);
    });
  }
  // which: KVI_MODEL_*
  Result<std::string> try_text(int32_t which) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_text(raw(), which, buffer, capacity, needed, error);
        });
  }
  size_t metadata_count() const { return kvi_model_metadata_count(raw()); }
  Result<std::string> try_metadata_key(size_t index) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_metadata_key(raw(), index, buffer, capacity, needed, error);
        });
  }
  // As JSON.
  Result<std::string> try_metadata_value(std::string_view key) const {
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_model_metadata_value(raw(), key.data(), key.size(), buffer, capacity, needed,
                                          error);
        });
  }
  Result<std::vector<int32_t>> try_tokenize(std::string_view text,
                                            AddBos add_bos = AddBos::automatic,
                                            Special parse_special = Special::no) const {
    return detail::fill<std::vector<int32_t>>(
        [&](int32_t* buffer, size_t capacity, size_t* count, kvi_error** error) {
          return kvi_tokenize(raw(), text.data(), text.size(), static_cast<int32_t>(add_bos),
                              static_cast<int32_t>(parse_special), buffer, capacity, count, error);
        });
  }
  Result<std::string> try_detokenize(const std::vector<int32_t>& tokens,
                                     Special render_special = Special::no) const {
    return detail::fill<std::string>([&](char* buffer, size_t capacity, size_t* needed,
                                         kvi_error** error) {
      return kvi_detokenize(raw(), tokens.data(), tokens.size(),
                            static_cast<int32_t>(render_special), buffer, capacity, needed, error);
    });
  }
  Result<Decoder> try_decoder(Special render_special = Special::no) const {
    return detail::make<Decoder, kvi_decoder>([&](kvi_decoder** out, kvi_error** error) {
      return kvi_decoder_create(raw(), static_cast<int32_t>(render_special), out, error);
    });
  }
  // arguments: a JSON object, or ""
  Result<std::string> try_apply_template(const std::vector<Message>& messages,
                                         std::string_view arguments = {}) const {
    const std::vector<kvi_message> turns = detail::raw_messages(messages);
    return detail::fill<std::string>(
        [&](char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
          return kvi_apply_template(raw(), turns.data(), turns.size(), arguments.data(),
                                    arguments.size(), buffer, capacity, needed, error);
        });
  }
  Result<kvi_plan> try_plan(const PlanOptions& options = {}) const {
    return detail::plan(options, [&](const kvi_plan_options* known, kvi_plan* out, kvi_error** e) {
      return kvi_plan_model(raw(), known, out, e);
    });
  }

#if KVINFER_EXCEPTIONS
  static Model open(std::string_view path, const ModelOptions& options = {}) {
    return try_open(path, options).value();
  }
  kvi_model_info info() const { return try_info().value(); }
  std::string text(int32_t which) const { return try_text(which).value(); }
  std::string metadata_key(size_t index) const { return try_metadata_key(index).value(); }
  std::string metadata_value(std::string_view key) const { return try_metadata_value(key).value(); }
  std::vector<int32_t> tokenize(std::string_view text, AddBos add_bos = AddBos::automatic,
                                Special parse_special = Special::no) const {
    return try_tokenize(text, add_bos, parse_special).value();
  }
  std::string detokenize(const std::vector<int32_t>& tokens,
                         Special render_special = Special::no) const {
    return try_detokenize(tokens, render_special).value();
  }
  Decoder decoder(Special render_special = Special::no) const {
    return try_decoder(render_special).value();
  }
  std::string apply_template(const std::vector<Message>& messages,
                             std::string_view arguments = {}) const {
    return try_apply_template(messages, arguments).value();
  }
  kvi_plan plan(const PlanOptions& options = {}) const { return try_plan(options).value(); }
#endif

 private:
  detail::Handle<kvi_model> handle_;
};

}  // namespace kvinfer

#endif  // KVINFER_MODEL_HPP_
