// A clock that stands still until a test moves it.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace kvi {

class ManualClock final : public Clock {
 public:
  int64_t now_us() override { return now_us_; }
  void advance(int64_t microseconds) { now_us_ += microseconds; }

 private:
  std::atomic<int64_t> now_us_{0};
};

}  // namespace kvi
