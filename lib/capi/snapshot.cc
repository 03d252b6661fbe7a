// Sessions as files: saved, loaded, and looked into without a model.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "base/replacement_file.h"
#include "base/utf8.h"
#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/session_options.h"
#include "capi/versioned.h"
#include "engine/snapshot_file.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr kvi_snapshot_options kDefaultOptions = {
    .struct_size = sizeof(kvi_snapshot_options),
    .allow_foreign_numerics = 0,
    .session = nullptr,
};

SessionLoadOptions load_options_argument(const kvi_snapshot_options* options) {
  kvi_snapshot_options known = kDefaultOptions;
  if (options != nullptr) known = read_struct(options, kDefaultOptions, "options");
  SessionLoadOptions result;
  result.session = session_options_argument(known.session);
  if (flag_argument(known.allow_foreign_numerics, "allow_foreign_numerics")) {
    result.foreign_numerics = ForeignNumerics::accept;
  }
  return result;
}

void check_answer(int32_t answer, const char* name) {
  if (answer == KVI_CONTINUE) return;
  if (answer == KVI_CANCEL) {
    throw Error(Status::CANCELLED, concat(name, " answered KVI_CANCEL"));
  }
  throw Error(Status::IO, concat(name, " answered ", answer, ": it failed"));
}

SnapshotSink sink_of(kvi_write_fn write, void* user) {
  return [write, user](std::span<const std::byte> bytes) {
    check_answer(called("write", [&] { return write(user, bytes.data(), bytes.size()); }), "write");
  };
}

SnapshotSource source_of(kvi_read_fn read, void* user) {
  return [read, user](std::span<std::byte> bytes) {
    size_t size = 0;
    check_answer(called("read", [&] { return read(user, bytes.data(), bytes.size(), &size); }),
                 "read");
    return size;
  };
}

// What fits of a text, in whole code points, and a NUL.
template <size_t capacity>
void put_text(char (&to)[capacity], std::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    const size_t next = size + static_cast<size_t>(decode_utf8(text, size).size);
    if (next >= capacity) break;
    size = next;
  }
  std::memcpy(to, text.data(), size);
  std::memset(to + size, 0, capacity - size);
}

// The same of a text from a file, whatever bytes it has.
template <size_t capacity>
void put_foreign_text(char (&to)[capacity], std::string_view text) {
  const std::string printable = quoted(text, capacity);
  put_text(to, std::string_view(printable).substr(1, printable.size() - 2));
}

int32_t to_abi(SnapshotStop stop) { return static_cast<int32_t>(stop); }
static_assert(static_cast<int>(SnapshotStop::complete) == KVI_SNAPSHOT_COMPLETE);
static_assert(static_cast<int>(SnapshotStop::other_numerics) == KVI_SNAPSHOT_OTHER_NUMERICS);
static_assert(static_cast<int>(SnapshotStop::trailing_bytes) == KVI_SNAPSHOT_TRAILING_BYTES);

void write_result(kvi_snapshot_result* out, int64_t num_tokens, int64_t kv_len, int64_t num_pages,
                  const SnapshotReason& reason) {
  kvi_snapshot_result result = {};
  result.reason = to_abi(reason.stop);
  result.num_tokens = static_cast<uint32_t>(num_tokens);
  result.num_kv_tokens = static_cast<uint32_t>(kv_len);
  result.num_pages = static_cast<uint64_t>(num_pages);
  put_text(result.text, reason.text);
  write_struct(out, result);
}

// Callbacks may release the handles: what they hold is kept until the end.
void save(const kvi_session& handle, SnapshotSink sink) {
  const std::shared_ptr<Engine> engine = handle.engine;
  const std::shared_ptr<Session> session = handle.session;
  engine->check_may_wait("saving a session");
  session->save(std::move(sink));
}

void load(const kvi_engine& engine, const SnapshotSource& source, const SessionLoadOptions& options,
          kvi_session** out, kvi_snapshot_result* result) {
  auto handle = std::make_unique<kvi_session>();
  handle->engine = engine.engine;
  handle->engine->check_may_wait("loading a session");
  SessionLoad taken;
  handle->session = handle->engine->load_session(source, options, taken);
  if (result != nullptr) {
    write_result(result, taken.num_tokens, taken.kv_len, taken.num_pages, taken.reason);
  }
  *out = handle.release();
}

}  // namespace

extern "C" {

const char* kvi_snapshot_reason_name(int32_t reason) {
  if (reason < 0 || reason > KVI_SNAPSHOT_TRAILING_BYTES) return "unknown";
  return snapshot_stop_name(static_cast<SnapshotStop>(reason));
}

kvi_status kvi_snapshot_options_init(kvi_snapshot_options* options, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(options, struct_size, kDefaultOptions); });
}

kvi_status kvi_snapshot_result_init(kvi_snapshot_result* result, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(result, struct_size, kvi_snapshot_result{}); });
}

kvi_status kvi_snapshot_info_init(kvi_snapshot_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kvi_snapshot_info{}); });
}

kvi_status kvi_session_save(kvi_session* session, const char* path, size_t path_size,
                            kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    ReplacementFile file(name_argument(path, path_size, "path"));
    save(*session, snapshot_sink(file));
    file.commit();
  });
}

kvi_status kvi_session_save_to(kvi_session* session, kvi_write_fn write, void* user,
                               kvi_error** error) {
  return guarded(error, [&] {
    require(session, "session");
    require(reinterpret_cast<const void*>(write), "write");
    save(*session, sink_of(write, user));
  });
}

kvi_status kvi_session_load(kvi_engine* engine, const char* path, size_t path_size,
                            const kvi_snapshot_options* options, kvi_session** out,
                            kvi_snapshot_result* result, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    const std::string name = name_argument(path, path_size, "path");
    const SessionLoadOptions known = load_options_argument(options);
    require(out, "out");
    if (result != nullptr) require_result(result, "result");
    load(*engine, snapshot_source(name), known, out, result);
  });
}

kvi_status kvi_session_load_from(kvi_engine* engine, kvi_read_fn read, void* user,
                                 const kvi_snapshot_options* options, kvi_session** out,
                                 kvi_snapshot_result* result, kvi_error** error) {
  return guarded(error, [&] {
    require(engine, "engine");
    require(reinterpret_cast<const void*>(read), "read");
    const SessionLoadOptions known = load_options_argument(options);
    require(out, "out");
    if (result != nullptr) require_result(result, "result");
    load(*engine, source_of(read, user), known, out, result);
  });
}

kvi_status kvi_snapshot_inspect(const char* path, size_t path_size, kvi_snapshot_info* info,
                                kvi_error** error) {
  return guarded(error, [&] {
    const std::string name = name_argument(path, path_size, "path");
    require_result(info, "info");
    const SnapshotFacts facts = inspect_snapshot(snapshot_source(name));
    if (!facts.header) throw_unusable_snapshot(facts.reason);
    const SnapshotHeader& header = *facts.header;
    kvi_snapshot_info result = {};
    result.version = kSnapshotVersion;
    result.num_tokens = static_cast<uint32_t>(header.num_tokens);
    result.num_kv_tokens = static_cast<uint32_t>(header.kv_len);
    result.page_len = static_cast<uint32_t>(header.page_len);
    result.num_groups = static_cast<uint32_t>(header.groups.size());
    result.num_pages = static_cast<uint64_t>(facts.num_pages);
    result.size_bytes = facts.num_bytes;
    put_foreign_text(result.model_fingerprint, header.model_fingerprint);
    put_foreign_text(result.model_name, header.model_name);
    put_foreign_text(result.numerics_id, header.numerics_id);
    put_foreign_text(result.library_version, header.library_version);
    write_struct(info, result);
  });
}

kvi_status kvi_snapshot_verify(const char* path, size_t path_size, kvi_snapshot_result* result,
                               kvi_error** error) {
  return guarded(error, [&] {
    const std::string name = name_argument(path, path_size, "path");
    require_result(result, "result");
    const SnapshotCheck check = verify_snapshot(snapshot_source(name));
    write_result(result, check.num_tokens, check.kv_len, check.num_pages, check.reason);
  });
}

}  // extern "C"
