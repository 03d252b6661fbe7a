// Sessions: what a running text holds, and how it changes.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capi/arguments.h"
#include "capi/conversation.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/session_options.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr kvi_part kDefaultPart = {
    .struct_size = sizeof(kvi_part),
    .kind = KVI_PART_TEXT,
    .text = nullptr,
    .text_size = KVI_ZERO_TERMINATED,
    .tokens = nullptr,
    .num_tokens = 0,
    .add_bos = KVI_BOS_AUTO,
    .parse_special = KVI_SPECIAL_NO,
};

Part part_argument(const kvi_part& part) {
  switch (part.kind) {
    case KVI_PART_TEXT:
      return InputText{
          text_member(part.text, part.text_size, "the text of a part"),
          {add_bos_argument(part.add_bos), parse_special_argument(part.parse_special)}};
    case KVI_PART_TOKENS:
      return array_argument(part.tokens, part.num_tokens, "the tokens of a part");
    default: reject_value("the kind of a part", part.kind, "one of KVI_PART_*");
  }
}

constexpr int32_t kMaxPriority = 1000;
constexpr kvi_session_options kDefaultOptions = {
    .struct_size = sizeof(kvi_session_options),
    .priority = 0,
    .tenant = nullptr,
    .tenant_size = KVI_ZERO_TERMINATED,
    .reads_shared = 1,
    .caches = 1,
};

}  // namespace

SessionOptions kvi::capi::session_options_argument(const kvi_session_options* options) {
  kvi_session_options known = kDefaultOptions;
  if (options != nullptr) known = read_struct(options, kDefaultOptions, "options");
  SessionOptions result;
  if (known.priority < -kMaxPriority || known.priority > kMaxPriority)
    reject_value("priority", known.priority, "from -1000 to 1000");
  result.priority = known.priority;
  result.tenant = tenant_argument(known.tenant, known.tenant_size);
  result.reads_shared = flag_argument(known.reads_shared, "reads_shared");
  result.caches = flag_argument(known.caches, "caches");
  return result;
}

namespace {

std::unique_ptr<kvi_session> make_handle(std::shared_ptr<Engine> engine) {
  auto handle = std::make_unique<kvi_session>();
  handle->engine = std::move(engine);
  return handle;
}

}  // namespace

extern "C" {

kvi_status kvi_part_init(kvi_part* part, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(part, struct_size, kDefaultPart); });
}

kvi_status kvi_session_options_init(kvi_session_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_session_info_init(kvi_session_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kvi_session_info{}); });
}

kvi_status kvi_messages_result_init(kvi_messages_result* result, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(result, struct_size, kvi_messages_result{}); });
}

kvi_status kvi_session_create(kvi_engine* engine, const kvi_session_options* options,
                              kvi_session** out, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(out, "out");
    const SessionOptions known = session_options_argument(options);
    auto handle = make_handle(engine->engine);
    handle->session = engine->engine->create_session(known);
    *out = handle.release();
  });
}

void kvi_session_release(kvi_session* session) {
  unless_forked([&] {
    if (session == nullptr) return;
    session->session->cancel_request();
    delete session;
  });
}

kvi_status kvi_session_append(kvi_session* session, const kvi_part* parts, size_t num_parts,
                              kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    std::vector<Part> list;
    for_each_struct(parts, num_parts, kDefaultPart, "parts",
                    [&](const kvi_part& part) { list.push_back(part_argument(part)); });
    session->session->append(list);
  });
}

kvi_status kvi_session_append_text(kvi_session* session, const char* text, size_t text_size,
                                   kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    const Part part = InputText{text_argument(text, text_size, "text"), {}};
    session->session->append({&part, 1});
  });
}

kvi_status kvi_session_set_messages(kvi_session* session, const kvi_message* messages,
                                    size_t num_messages, const char* arguments,
                                    size_t arguments_size, kvi_messages_result* result,
                                    kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    if (result != nullptr) require_result(result, "result");
    MessagesResult changed = session->session->set_messages(conversation_argument(
        *session->engine->model(), messages, num_messages, arguments, arguments_size));
    if (result == nullptr) return;
    write_struct(result, {
                             .struct_size = 0,
                             .kept_tokens = changed.kept_tokens,
                             .dropped_tokens = changed.dropped_tokens,
                             .added_tokens = changed.added_tokens,
                         });
  });
}

kvi_status kvi_session_truncate(kvi_session* session, uint32_t num_tokens, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    session->session->truncate(num_tokens);
  });
}

kvi_status kvi_session_fork(kvi_session* session, kvi_session** out, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    require(out, "out");
    auto handle = make_handle(session->engine);
    handle->session = session->session->fork();
    *out = handle.release();
  });
}

kvi_status kvi_session_suspend(kvi_session* session, int32_t tier, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    if (tier != KVI_TIER_HOST && tier != KVI_TIER_DISK)
      reject_value("tier", tier, "KVI_TIER_HOST or KVI_TIER_DISK");
    session->session->suspend(static_cast<TierId>(tier));
  });
}

kvi_status kvi_session_resume(kvi_session* session, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    session->session->resume();
  });
}

kvi_status kvi_session_tokens(kvi_session* session, int32_t* tokens, size_t capacity, size_t* count,
                              kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    write_tokens(session->session->tokens(), tokens, capacity, count);
  });
}

kvi_status kvi_session_get_info(kvi_session* session, kvi_session_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    require_result(info, "info");
    SessionInfo now = session->session->info();
    write_struct(info, {
                           .struct_size = 0,
                           .num_tokens = now.num_tokens,
                           .num_computed_tokens = now.num_computed_tokens,
                           .max_tokens = now.max_tokens,
                           .busy = now.busy,
                           .kv_bytes = now.kv_bytes,
                           .suspended = now.suspended,
                       });
  });
}

}  // extern "C"
