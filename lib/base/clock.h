// The time as the engine's own decisions see it: from a system clock, or from one that a test moves.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>

namespace kvi {

class Clock {
 public:
  virtual ~Clock() = default;

  // Microseconds since some fixed point; never runs backwards, whatever is done to the time of day.
  virtual int64_t now_us() = 0;
};

std::shared_ptr<Clock> steady_clock();

}  // namespace kvi
