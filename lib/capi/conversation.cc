#include "capi/conversation.h"

#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/versioned.h"

namespace kvi::capi {
namespace {

constexpr kvi_message kEmptyMessage = {
    .struct_size = sizeof(kvi_message),
    .role = nullptr,
    .role_size = KVI_ZERO_TERMINATED,
    .content = nullptr,
    .content_size = KVI_ZERO_TERMINATED,
};

std::string token_text(const Tokenizer& tokenizer, std::optional<TokenId> token) {
  return token ? tokenizer.token_bytes(*token, /*render_special=*/true) : "";
}

}  // namespace

TemplateInput conversation_argument(const LoadedModel& model, const kvi_message* messages,
                                    size_t num_messages, const char* arguments,
                                    size_t arguments_size) {
  TemplateInput input;
  for_each_struct(
      messages, num_messages, kEmptyMessage, "messages", [&](const kvi_message& message) {
        const std::string_view role = text_member(message.role, message.role_size, "role");
        if (role.empty()) {
          throw Error(Status::INVALID_ARGUMENT,
                      concat("the role of message ", input.messages.size(), " is empty"));
        }
        input.messages.push_back(
            {std::string(role),
             std::string(text_member(message.content, message.content_size, "content")), ""});
      });
  input.arguments_json = text_argument(arguments, arguments_size, "arguments");
  if (model.has_tokenizer()) {
    const Tokenizer& tokenizer = model.tokenizer();
    input.bos_token = token_text(tokenizer, tokenizer.spec().bos);
    input.eos_token = token_text(tokenizer, tokenizer.spec().eos);
  }
  return input;
}

}  // namespace kvi::capi

using namespace kvi;
using namespace kvi::capi;

extern "C" {

kvi_status kvi_message_init(kvi_message* message, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(message, struct_size, kEmptyMessage); });
}

kvi_status kvi_apply_template(const kvi_model* model, const kvi_message* messages,
                              size_t num_messages, const char* arguments, size_t arguments_size,
                              char* buffer, size_t capacity, size_t* needed, kvi_error** error) {
  return guarded(error, [&] {
    require(model, "model");
    TemplateInput input = conversation_argument(*model->model, messages, num_messages, arguments,
                                                arguments_size);
    check_room(buffer, capacity, 1, "buffer");
    write_text(model->model->chat_template().render_text(input), buffer, capacity, needed);
  });
}

}  // extern "C"
