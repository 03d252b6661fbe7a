// Where a page may lie. On the CPU backend the device's memory is RAM too.
#pragma once

#include <cstdint>

namespace kvi {

enum class TierId : uint8_t { device, host, disk };
constexpr int kNumTiers = 3;
constexpr int kNumLowerTiers = 2;

}  // namespace kvi
