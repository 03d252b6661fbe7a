#include "base/error.h"

#include <cstring>

#include "base/text.h"

namespace kvi {

Error& Error::amounts(uint64_t needed, uint64_t available) {
  needed_ = needed;
  available_ = available;
  return *this;
}

Error& Error::retryable() {
  retryable_ = true;
  return *this;
}

void throw_internal(const char* condition, const char* file, int line) {
  const char* name = std::strrchr(file, '/');
  throw Error(Status::INTERNAL, concat("broken invariant: ", condition, " (",
                                       name ? name + 1 : file, ":", line, ")"));
}

}  // namespace kvi
