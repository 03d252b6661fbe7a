// Laying out many arrays in one allocation.
//
// A class with scratch arrays takes them from a Scratch in its constructor. Over no memory, the same
// code counts what it would take; so the stated bytes cannot differ from the allocated ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace kvi {

inline constexpr uint64_t kScratchAlignment = 64;  // bytes: a cache line and a vector register

class Scratch {
 public:
  explicit Scratch(std::byte* memory) : memory_(memory) {}  // nullptr: count only

  // An array of count uninitialized values, 64-byte aligned; nullptr when counting.
  template <typename T>
  T* take(int64_t count) {
    const uint64_t at = size_;
    const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(T);
    size_ += (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }

  // Where two phases use the same memory: each takes from a copy, then the original skips the larger.
  void skip_to(uint64_t size_bytes) { size_ = std::max(size_, size_bytes); }
  uint64_t size_bytes() const { return size_; }

 private:
  std::byte* memory_;
  uint64_t size_ = 0;
};

}  // namespace kvi
