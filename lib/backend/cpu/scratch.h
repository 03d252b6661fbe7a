// The host memory that a Scratch lays arrays out in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "backend/scratch.h"
#include "base/error.h"
#include "base/text.h"

namespace kvi::cpu {

class AlignedMemory {
 public:
  explicit AlignedMemory(uint64_t num_bytes)
      : data_(static_cast<std::byte*>(
            ::operator new(num_bytes, std::align_val_t(kScratchAlignment), std::nothrow))) {
    if (data_ == nullptr) {
      throw Error(Status::OUT_OF_MEMORY, concat("cannot allocate ", format_bytes(num_bytes)))
          .amounts(num_bytes, 0);
    }
  }
  ~AlignedMemory() { ::operator delete(data_, std::align_val_t(kScratchAlignment)); }
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

}  // namespace kvi::cpu
