// SHA-256 (FIPS 180-4), incremental.
//
// Not thread-safe; different objects are independent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvi {

using Digest = std::array<uint8_t, 32>;

// Which code computes it. The digests are the same; plain is the reference for tests and measurements.
enum class Sha256Code { fastest, plain };

class Sha256 {
 public:
  explicit Sha256(Sha256Code code = Sha256Code::fastest);

  void update(std::span<const std::byte> bytes);
  Digest finish();  // ends the computation; the object is spent

 private:
  using Compress = void (*)(uint32_t* state, const uint8_t* blocks, size_t num_blocks);

  Compress compress_;
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_;  // the first num_bytes_ % 64 wait for the rest of the block
  uint64_t num_bytes_ = 0;
};

std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace kvi
