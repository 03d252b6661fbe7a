// The one exception type of the library: a status and a message that names what, where and what to do.
//
// Copies share the message, so that passing an error on never fails.
//
// Thrown below the C ABI; only capi/guard and the bodies of our own threads catch it.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "base/status.h"

namespace kvi {

class Error : public std::exception {
 public:
  Error(Status status, std::string message)
      : status_(status), message_(std::make_shared<const std::string>(std::move(message))) {}

  // How much was asked for and how much there is, in the unit that the message names.
  Error& amounts(uint64_t needed, uint64_t available);
  Error& retryable();  // the same call may succeed later without any change

  Status status() const { return status_; }
  const std::string& message() const { return *message_; }
  uint64_t needed() const { return needed_; }
  uint64_t available() const { return available_; }
  bool is_retryable() const { return retryable_; }
  const char* what() const noexcept override { return message_->c_str(); }

 private:
  Status status_;
  bool retryable_ = false;
  uint64_t needed_ = 0;
  uint64_t available_ = 0;
  std::shared_ptr<const std::string> message_;
};

// A condition that only a bug in this library can break. Throws INTERNAL; never ends the process.
[[noreturn]] void throw_internal(const char* condition, const char* file, int line);

}  // namespace kvi

#define KVI_CHECK(condition) \
  ((condition) ? void(0) : ::kvi::throw_internal(#condition, __FILE__, __LINE__))

// As KVI_CHECK, in builds that check invariants (presets debug, asan, tsan).
#ifdef KVINFER_CHECK_INVARIANTS
#define KVI_DCHECK(condition) KVI_CHECK(condition)
#else
#define KVI_DCHECK(condition) void(0)
#endif
