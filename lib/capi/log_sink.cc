#include "capi/log_sink.h"

#include <memory>

#include "capi/guard.h"

namespace kvi::capi {
namespace {

struct Sink {
  Sink(kvi_log_fn function, void* user, kvi_destroy_fn destroy)
      : function(function), user(user), destroy(destroy) {}
  ~Sink() {
    if (destroy != nullptr) destroy(user);
  }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  // Nobody is there to tell what it throws.
  void call(int32_t level, const char* message) const noexcept {
    unless_forked([&] { function(user, level, message); });
  }

  const kvi_log_fn function;
  void* const user;
  const kvi_destroy_fn destroy;
};

}  // namespace

Log make_log(kvi_log_fn function, void* user, kvi_destroy_fn destroy) {
  auto sink = std::make_shared<Sink>(function, user, destroy);
  if (function == nullptr) return nullptr;
  return [sink = std::move(sink)](LogLevel level, const std::string& message) {
    sink->call(static_cast<int32_t>(level), message.c_str());
  };
}

}  // namespace kvi::capi
