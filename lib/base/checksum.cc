#include "base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvi {

Checksum checksum(std::span<const std::byte> bytes, uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.low64, hash.high64};
}

}  // namespace kvi
