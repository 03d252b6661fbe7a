// Clock on Linux: CLOCK_MONOTONIC.
#include <time.h>

#include "base/clock.h"

namespace kvi {
namespace {

class SteadyClock final : public Clock {
 public:
  int64_t now_us() override {
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  }
};

}  // namespace

std::shared_ptr<Clock> steady_clock() { return std::make_shared<SteadyClock>(); }

}  // namespace kvi
