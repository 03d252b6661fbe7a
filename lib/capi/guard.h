// The border of the library: exceptions inside, statuses outside.
//
// Every exported function that can fail runs its body in guarded(); a release runs in
// unless_forked(). Nothing else in the library catches exceptions, but the bodies of our own threads.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <exception>

#include "base/os_fork.h"
#include "kvinfer/kvinfer.h"

// Plain data, made in one piece with its message, so that making and freeing it runs no constructor.
struct kvi_error {
  kvi_status status;
  int32_t retryable;
  uint64_t needed;
  uint64_t available;
  const char* message;  // right behind this struct, or static
};

namespace kvi::capi {

[[noreturn]] void throw_forked();
[[noreturn]] void throw_thrown(const char* name, const char* what);

// Requires: called while an exception is handled. Its status; the rest goes to *error, if wanted.
kvi_status report_exception(kvi_error** error) noexcept;

template <typename Body>
kvi_status guarded(kvi_error** error, const Body& body) noexcept {
  try {
    if (in_forked_child()) throw_forked();
    body();
    return KVI_OK;
  } catch (...) {
    return report_exception(error);
  }
}

// Calls a caller's function. C throws nothing; what a function in C++ throws ends the call, under the function's name.
template <typename Function>
auto called(const char* name, const Function& function) {
  try {
    return function();
  } catch (const std::exception& e) {
    throw_thrown(name, e.what());
  } catch (...) {
    throw_thrown(name, "no std::exception");
  }
}

// Releases have nobody to tell: what fails in them is a bug, and is dropped.
template <typename Body>
void unless_forked(const Body& body) noexcept {
  if (in_forked_child()) return;
  try {
    body();
  } catch (...) {
    report_exception(nullptr);
  }
}

}  // namespace kvi::capi
