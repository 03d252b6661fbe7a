#include "capi/guard.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace kvi::capi {
namespace {

// Handed out where there is no memory for an error of its own; kvi_error_release knows it by its
// message.
constinit kvi_error out_of_memory = {KVI_OUT_OF_MEMORY, 0, 0, 0,
                                     "the operating system refused memory"};

kvi_error* make_error(const kvi_error& fields, std::string_view message) noexcept {
  void* memory = std::malloc(sizeof(kvi_error) + message.size() + 1);
  if (memory == nullptr) return &out_of_memory;
  auto* error = new (memory) kvi_error(fields);
  auto* text = reinterpret_cast<char*>(error + 1);
  std::memcpy(text, message.data(), message.size());
  text[message.size()] = '\0';
  error->message = text;
  return error;
}

kvi_status fill(kvi_error** error, const kvi_error& fields, std::string_view message) noexcept {
  if (error != nullptr) *error = make_error(fields, message);
  return fields.status;
}

}  // namespace

void throw_forked() {
  throw Error(Status::FORKED,
              "libkvinfer was used before this process was forked; use it in the parent, or open "
              "models only after the fork");
}

void throw_thrown(const char* name, const char* what) {
  throw Error(Status::CANCELLED, concat(name, " threw an exception: ", what));
}

kvi_status report_exception(kvi_error** error) noexcept {
  try {
    throw;
  } catch (const Error& e) {
    return fill(
        error,
        {static_cast<kvi_status>(e.status()), e.is_retryable(), e.needed(), e.available(), nullptr},
        e.message());
  } catch (const std::bad_alloc&) {
    if (error != nullptr) *error = &out_of_memory;
    return KVI_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    return fill(error, {KVI_INTERNAL, 0, 0, 0, nullptr}, e.what());
  } catch (...) {
    return fill(error, {KVI_INTERNAL, 0, 0, 0, nullptr}, "an unknown exception");
  }
}

}  // namespace kvi::capi

using kvi::capi::out_of_memory;

extern "C" {

kvi_status kvi_error_code(const kvi_error* error) { return error ? error->status : KVI_OK; }

const char* kvi_error_message(const kvi_error* error) { return error ? error->message : ""; }

int32_t kvi_error_retryable(const kvi_error* error) { return error ? error->retryable : 0; }

uint64_t kvi_error_needed(const kvi_error* error) { return error ? error->needed : 0; }

uint64_t kvi_error_available(const kvi_error* error) { return error ? error->available : 0; }

void kvi_error_release(kvi_error* error) {
  if (error != &out_of_memory) std::free(error);
}

}  // extern "C"
