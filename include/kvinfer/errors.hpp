// Errors of the C++ wrapper: Error, Result, and the calls of kvinfer.h that make them.
//
// Part of kvinfer.hpp.
#ifndef KVINFER_ERRORS_HPP_
#define KVINFER_ERRORS_HPP_

#if !defined(__cplusplus) || \
    (__cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L))
#error "kvinfer.hpp needs C++17 or later: compile with -std=c++17"
#endif

#include <kvinfer/kvinfer.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define KVINFER_EXCEPTIONS 1
#else
#define KVINFER_EXCEPTIONS 0
#endif

namespace kvinfer {

enum class Status : int32_t {
#define KVINFER_STATUS(name, value, text) name = value,
  KVI_STATUS_MAP(KVINFER_STATUS)
#undef KVINFER_STATUS
};

// Of the library that is loaded: major << 16 | minor << 8 | patch.
inline uint32_t version() { return kvi_version(); }

class Error : public std::exception {
 public:
  // Takes over what a call of kvinfer.h reported; error may be null.
  Error(kvi_status status, kvi_error* error)
      : status_(static_cast<Status>(status)),
        retryable_(kvi_error_retryable(error) != 0),
        needed_(kvi_error_needed(error)),
        available_(kvi_error_available(error)),
        message_(error != nullptr ? kvi_error_message(error) : kvi_status_name(status)) {
    kvi_error_release(error);
  }

  // What the wrapper itself finds wrong.
  Error(Status status, std::string message)
      : status_(status),
        retryable_(false),
        needed_(0),
        available_(0),
        message_(std::move(message)) {}

  Status status() const { return status_; }
  const char* status_name() const { return kvi_status_name(static_cast<kvi_status>(status_)); }
  const std::string& message() const { return message_; }
  bool retryable() const { return retryable_; }
  uint64_t needed() const { return needed_; }
  uint64_t available() const { return available_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Status status_;
  bool retryable_;
  uint64_t needed_, available_;
  std::string message_;
};

// A value, or the error that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // Require ok().
  T& operator*() { return *std::get_if<0>(&state_); }
  const T& operator*() const { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  // Requires !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }

#if KVINFER_EXCEPTIONS
  // The value; throws the error.
  T value() && {
    if (!ok()) throw error();
    return std::move(**this);
  }
#endif

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }  // requires !ok()

#if KVINFER_EXCEPTIONS
  void value() && {
    if (error_) throw *error_;
  }
#endif

 private:
  std::optional<Error> error_;
};

using Milliseconds = std::chrono::milliseconds;

namespace detail {

// Calls a function of kvinfer.h whose last argument is kvi_error **.
template <typename Call>
Result<void> check(const Call& call) {
  kvi_error* error = nullptr;
  kvi_status status = call(&error);
  if (status == KVI_OK) return {};
  return Error(status, error);
}

// As check, for a call that fills a value.
template <typename T, typename Call>
Result<T> get(T value, const Call& call) {
  Result<void> result = check([&](kvi_error** error) { return call(value, error); });
  if (!result) return result.error();
  return value;
}

struct Release {
  void operator()(kvi_model* handle) const { kvi_model_release(handle); }
  void operator()(kvi_decoder* handle) const { kvi_decoder_release(handle); }
  void operator()(kvi_engine* handle) const { kvi_engine_release(handle); }
  void operator()(kvi_session* handle) const { kvi_session_release(handle); }
  void operator()(kvi_request* handle) const { kvi_request_release(handle); }
  void operator()(kvi_budget* handle) const { kvi_budget_release(handle); }
  void operator()(kvi_prefix* handle) const { kvi_prefix_release(handle); }
};
template <typename T>
using Handle = std::unique_ptr<T, Release>;

// call(T** out, kvi_error** error) makes the handle that Wrapper holds.
template <typename Wrapper, typename T, typename Call>
Result<Wrapper> make(const Call& call) {
  T* handle = nullptr;
  Result<void> result = check([&](kvi_error** error) { return call(&handle, error); });
  if (!result) return result.error();
  return Wrapper(Handle<T>(handle));
}

// Asks for the size of an output, then for the output.
template <typename Buffer, typename Call>
Result<Buffer> fill(const Call& call) {
  size_t needed = 0;
  Result<void> result = check(
      [&](kvi_error** error) { return call(nullptr, size_t{0}, &needed, error); });
  Buffer buffer;
  if (result && needed > 0) {
    buffer.resize(needed);
    result = check(
        [&](kvi_error** error) { return call(buffer.data(), buffer.size(), &needed, error); });
    if (result) buffer.resize(needed);  // of numbers that change it may now be less
  }
  if (!result) return result.error();
  return buffer;
}

// A function of the caller's for one call of kvinfer.h, through which nothing may be thrown: what the function throws
// is kept, and thrown again when the call has ended.
template <typename Function>
class Callback {
 public:
  explicit Callback(const Function& function) : function_(function) {}

  static Result<void> check(const Function& function, const char* name) {
    if (function) return {};
    return Error(Status::INVALID_ARGUMENT, std::string(name) + " is an empty function");
  }

  // answer(function): what the caller's function tells kvinfer.h.
  template <typename Answer>
  int32_t call(const Answer& answer) noexcept {
#if KVINFER_EXCEPTIONS
    try {
      return answer(function_);
    } catch (...) {
      thrown_ = std::current_exception();
      return KVI_CANCEL;
    }
#else
    return answer(function_);
#endif
  }
  void rethrow() const {
#if KVINFER_EXCEPTIONS
    if (thrown_) std::rethrow_exception(thrown_);
#endif
  }

 private:
  const Function& function_;
  std::exception_ptr thrown_;
};

inline uint32_t timeout(std::optional<Milliseconds> value) {
  if (!value) return KVI_FOREVER;
  if (value->count() < 0) return 0;
  return value->count() < KVI_FOREVER ? static_cast<uint32_t>(value->count()) : KVI_FOREVER - 1;
}

}  // namespace detail

}  // namespace kvinfer

#endif  // KVINFER_ERRORS_HPP_
