// Device or host memory of the simulator: what is not committed is poison, what is committed reads as zero at
// first, and the system may refuse.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/memory_range.h"

namespace kvi::sim {

// Of all ranges of one simulated machine.
struct MemoryFaults {
  int num_passing = 0;    // commits that still go well before
  int num_refused = 0;    // these are refused
  uint64_t refusals = 0;  // that came true

  bool refuses() {
    if (num_refused == 0) return false;
    if (num_passing > 0) return --num_passing, false;
    --num_refused;
    ++refusals;
    return true;
  }
};

class SimulatedMemory final : public MemoryRange {
 public:
  static constexpr uint64_t kUnit = 4096;

  SimulatedMemory(uint64_t num_bytes, std::shared_ptr<MemoryFaults> faults)
      : size_bytes_(num_bytes),
        bytes_((num_bytes + kUnit - 1) / kUnit * kUnit, kPoison),
        committed_(bytes_.size() / kUnit, false),
        faults_(std::move(faults)) {}

  std::byte* address() const override { return const_cast<std::byte*>(bytes_.data()); }
  uint64_t size_bytes() const override { return size_bytes_; }
  uint64_t granule_bytes() const override { return kUnit; }

  bool commit(uint64_t offset, uint64_t num_bytes) override {
    if (faults_->refuses()) return false;
    const uint64_t end = std::min<uint64_t>((offset + num_bytes + kUnit - 1) / kUnit,
                                            committed_.size());
    for (uint64_t unit = offset / kUnit; unit < end; ++unit) {
      if (!committed_[unit]) fill(unit, std::byte{0});
      committed_[unit] = true;
    }
    return true;
  }
  void decommit(uint64_t offset, uint64_t num_bytes) override {
    const uint64_t begin = (offset + kUnit - 1) / kUnit;
    const bool to_the_end = offset + num_bytes == size_bytes_;
    const uint64_t end = to_the_end ? committed_.size() : (offset + num_bytes) / kUnit;
    for (uint64_t unit = begin; unit < end; ++unit) {
      fill(unit, kPoison);
      committed_[unit] = false;
    }
  }

 private:
  static constexpr std::byte kPoison{0xdb};
  void fill(uint64_t unit, std::byte value) {
    std::memset(&bytes_[unit * kUnit], static_cast<int>(value), kUnit);
  }

  const uint64_t size_bytes_;
  std::vector<std::byte> bytes_;
  std::vector<bool> committed_;
  const std::shared_ptr<MemoryFaults> faults_;
};

}  // namespace kvi::sim
