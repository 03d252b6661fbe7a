// XXH3-128 (Yann Collet's xxHash): finds accidental damage, at the speed of memory. Not cryptographic.
//
// Thread-safe: a pure function. The value is the same on every machine and in every version.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvi {

using Checksum = std::array<uint64_t, 2>;  // the low half first

Checksum checksum(std::span<const std::byte> bytes, uint64_t seed);

}  // namespace kvi
