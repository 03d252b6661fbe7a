// XXH3-128 (Yann Collet's xxHash) of bytes that come in pieces: finds accidental damage, at the speed of memory.
//
// Not cryptographic: who forges bytes can forge their checksum. The value is the same on every machine.
//
// Not thread-safe; different objects are independent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvi {

class RunningChecksum {
 public:
  using Value = std::array<uint64_t, 2>;  // the low half first

  explicit RunningChecksum(uint64_t seed = 0);

  void update(std::span<const std::byte> bytes);
  Value value() const;  // of what came so far

 private:
  alignas(64) std::array<std::byte, 576> state_;  // an XXH3_state_t
};

}  // namespace kvi
