#include "jinja/meter.h"

#include "base/error.h"
#include "base/text.h"

namespace kvi::jinja {

void Meter::charge(size_t bytes) {
  if (bytes > limits_.max_memory_bytes - memory_bytes_) {
    fail_limit(concat("more than ", format_bytes(limits_.max_memory_bytes),
                      " of values at once (max_memory_bytes)"));
  }
  memory_bytes_ += bytes;
}

void Meter::fail(const std::string& message) const {
  throw Error(Status::INVALID_ARGUMENT, concat("chat template, line ", line_, ": ", message));
}

void Meter::fail_unsupported(const std::string& what) const {
  throw Error(Status::UNSUPPORTED,
              concat("chat template, line ", line_, ": ", what, " is not supported"));
}

void Meter::fail_limit(const std::string& limit) const {
  throw Error(Status::UNSUPPORTED,
              concat("chat template, line ", line_, ": limit reached, ", limit));
}

void Meter::fail_steps() const {
  fail_limit(concat("more than ", limits_.max_steps, " steps (max_steps)"));
}

void Meter::fail_depth() const {
  fail_limit(
      concat("nesting deeper than ", max_depth_, " (from max_depth ", limits_.max_depth, ")"));
}

}  // namespace kvi::jinja
