// XXH3-128 (Yann Collet's xxHash), of bytes at once or in pieces: finds accidental damage, at the speed of memory.
//
// Not cryptographic: who forges bytes can forge their checksum. The value is the same on every machine and in
// every version.
//
// Not thread-safe; different objects are independent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvi {

using Checksum = std::array<uint64_t, 2>;  // the low half first

Checksum checksum(std::span<const std::byte> bytes, uint64_t seed);

// The same of bytes that come in pieces.
class RunningChecksum {
 public:
  explicit RunningChecksum(uint64_t seed = 0);

  void update(std::span<const std::byte> bytes);
  Checksum value() const;  // of what came so far

 private:
  alignas(64) std::array<std::byte, 576> state_;  // an XXH3_state_t
};

}  // namespace kvi
