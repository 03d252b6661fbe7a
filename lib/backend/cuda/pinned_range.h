// Host memory that the GPU copies to and from by itself: pinned as it is committed, in pieces of 8 MiB.
//
// Memory that the system will not pin is used as it is; copies of it are slower.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "backend/cuda/device.h"
#include "base/memory_range.h"

namespace kvi::cuda {

class PinnedRange final : public MemoryRange {
 public:
  static constexpr uint64_t kPiece = uint64_t{8} << 20;

  // Throws OUT_OF_MEMORY when not even the addresses can be had.
  PinnedRange(std::shared_ptr<const Device> device, uint64_t num_bytes);
  ~PinnedRange() override;
  PinnedRange(const PinnedRange&) = delete;
  PinnedRange& operator=(const PinnedRange&) = delete;

  std::byte* address() const override { return memory_->address(); }
  uint64_t size_bytes() const override { return memory_->size_bytes(); }
  bool commit(uint64_t offset, uint64_t num_bytes) override;
  void decommit(uint64_t offset, uint64_t num_bytes) override;
  uint64_t granule_bytes() const override { return kPiece; }

 private:
  enum class State : uint8_t { absent, pageable, pinned };
  uint64_t bytes_of(uint64_t piece) const {
    return std::min(kPiece, size_bytes() - piece * kPiece);
  }
  void unpin(uint64_t piece) noexcept;

  const std::shared_ptr<const Device> device_;
  const std::unique_ptr<MemoryRange> memory_;
  std::vector<State> pieces_;  // up to the highest ever committed
};

}  // namespace kvi::cuda
