// Memory of packed weights: matrices lie side by side in large mappings, since a small model's are too
// small for huge pages of their own, and reading them through 4 KiB pages costs up to a quarter of the
// speed of decoding.
//
// Thread-safe. A mapping lives as long as any matrix in it, even beyond the WeightMemory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace kvi::cpu {

class WeightMemory {
 public:
  // num_bytes zeros, 64-byte aligned. Throws OUT_OF_MEMORY.
  std::shared_ptr<std::byte> allocate(uint64_t num_bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> free_;  // what is left of the newest shared mapping
  uint64_t free_bytes_ = 0;
};

}  // namespace kvi::cpu
