// Snapshots: sessions in files, or in whatever takes and gives bytes.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_SNAPSHOT_HPP_
#define KVINFER_SNAPSHOT_HPP_

#include <kvinfer/errors.hpp>
#include <kvinfer/options.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace kvinfer {

class SnapshotOptions {
 public:
  SnapshotOptions() { kvi_snapshot_options_init(&options_, sizeof options_); }
  SnapshotOptions& allow_foreign_numerics(bool value = true) {
    return options_.allow_foreign_numerics = value, *this;
  }
  SnapshotOptions& session(const SessionOptions& options) { return session_ = options, *this; }

  // Calls use(const kvi_snapshot_options *), good for as long as it runs.
  template <typename Use>
  auto with_raw(const Use& use) const {
    kvi_snapshot_options options = options_;
    const kvi_session_options session = session_.raw();
    options.session = &session;
    return use(&options);
  }

 private:
  kvi_snapshot_options options_;
  SessionOptions session_;
};

// Takes the next bytes of a snapshot; false: it failed, and the call with it. The call throws what it throws, the try_
// form too.
using WriteFunction = std::function<bool(const void* bytes, size_t size)>;
// Gives the next bytes, at most capacity: how many, 0 at the end; nullopt: it failed. Likewise.
using ReadFunction = std::function<std::optional<size_t>(void* buffer, size_t capacity)>;

namespace detail {

constexpr int32_t kFunctionFailed = -1;  // no answer of kvinfer.h: IO

inline int32_t KVI_CALL call_write(void* user, const void* bytes, size_t size) {
  return static_cast<Callback<WriteFunction>*>(user)->call([&](const WriteFunction& write) {
    return write(bytes, size) ? KVI_CONTINUE : kFunctionFailed;
  });
}
inline int32_t KVI_CALL call_read(void* user, void* buffer, size_t capacity, size_t* size) {
  return static_cast<Callback<ReadFunction>*>(user)->call([&](const ReadFunction& read) {
    const std::optional<size_t> got = read(buffer, capacity);
    if (!got) return kFunctionFailed;
    *size = *got;
    return int32_t{KVI_CONTINUE};
  });
}

}  // namespace detail

// "damaged_page" for KVI_SNAPSHOT_DAMAGED_PAGE, and so on.
inline const char* snapshot_reason_name(int32_t reason) { return kvi_snapshot_reason_name(reason); }

// What a file says of itself; needs no model.
inline Result<kvi_snapshot_info> try_inspect_snapshot(std::string_view path) {
  kvi_snapshot_info info;
  kvi_snapshot_info_init(&info, sizeof info);
  return detail::get(info, [&](kvi_snapshot_info& out, kvi_error** error) {
    return kvi_snapshot_inspect(path.data(), path.size(), &out, error);
  });
}
// Whether it is whole: reason is KVI_SNAPSHOT_COMPLETE. Needs no model.
inline Result<kvi_snapshot_result> try_verify_snapshot(std::string_view path) {
  kvi_snapshot_result result;
  kvi_snapshot_result_init(&result, sizeof result);
  return detail::get(result, [&](kvi_snapshot_result& out, kvi_error** error) {
    return kvi_snapshot_verify(path.data(), path.size(), &out, error);
  });
}

#if KVINFER_EXCEPTIONS
inline kvi_snapshot_info inspect_snapshot(std::string_view path) {
  return try_inspect_snapshot(path).value();
}
inline kvi_snapshot_result verify_snapshot(std::string_view path) {
  return try_verify_snapshot(path).value();
}
#endif

}  // namespace kvinfer

#endif  // KVINFER_SNAPSHOT_HPP_
