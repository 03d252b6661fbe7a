// A MemoryRange on the GPU: addresses reserved once, memory mapped under them in granules of 2 MiB.
//
// What is asked for in smaller units is counted in units of 4 KiB: a granule is mapped with its first unit and
// unmapped with its last, after everything enqueued is done.
//
// Not thread-safe.
#pragma once

#include <bitset>
#include <memory>
#include <vector>

#include "backend/cuda/device.h"
#include "base/memory_range.h"

namespace kvi::cuda {

class DeviceRange final : public MemoryRange {
 public:
  static constexpr uint64_t kGranule = uint64_t{2} << 20;
  static constexpr uint64_t kUnit = 4096;

  // Throws OUT_OF_MEMORY when not even the addresses can be had.
  DeviceRange(std::shared_ptr<const Device> device, uint64_t num_bytes);
  ~DeviceRange() override;
  DeviceRange(const DeviceRange&) = delete;
  DeviceRange& operator=(const DeviceRange&) = delete;

  std::byte* address() const override { return reinterpret_cast<std::byte*>(address_); }
  uint64_t size_bytes() const override { return size_; }
  bool commit(uint64_t offset, uint64_t num_bytes) override;
  void decommit(uint64_t offset, uint64_t num_bytes) override;
  uint64_t granule_bytes() const override { return kUnit; }

  uint64_t mapped_bytes() const { return num_mapped_ * kGranule; }

 private:
  struct Granule {
    CUmemGenericAllocationHandle memory = 0;
    bool is_mapped = false;
    std::bitset<kGranule / kUnit> units;  // committed
  };
  bool map(uint64_t index);
  void unmap(uint64_t index) noexcept;

  std::shared_ptr<const Device> device_;
  const uint64_t size_;
  uint64_t reserved_bytes_ = 0;
  CUdeviceptr address_ = 0;
  uint64_t num_mapped_ = 0;
  std::vector<Granule> granules_;  // up to the highest ever mapped
};

}  // namespace kvi::cuda
