// Memory of a GPU and memory of the host that it copies from and to directly, each freed with its owner.
//
// Not thread-safe; copies are ordered by the device's stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backend/cuda/device.h"

namespace kvi::cuda {

class DeviceBuffer {
 public:
  // Uninitialized; purpose: "weights", for the message. Throws OUT_OF_MEMORY, with what is free.
  DeviceBuffer(std::shared_ptr<const Device> device, uint64_t num_bytes, std::string_view purpose);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(address_); }
  uint64_t size_bytes() const { return size_; }

 private:
  std::shared_ptr<const Device> device_;
  CUdeviceptr address_ = 0;
  uint64_t size_;
};

class PinnedBuffer {
 public:
  PinnedBuffer(std::shared_ptr<const Device> device, uint64_t num_bytes);  // throws OUT_OF_MEMORY
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  std::byte* data() const { return data_; }
  uint64_t size_bytes() const { return size_; }

 private:
  std::shared_ptr<const Device> device_;
  std::byte* data_ = nullptr;
  uint64_t size_;
};

// Enqueued on the device's stream. Pageable host memory may be reused at once after copy_to_device; pinned
// memory, and whatever is copied to the host, only after synchronize().
void copy_to_device(const Device& device, std::byte* to, std::span<const std::byte> from);
void copy_to_host(const Device& device, std::span<std::byte> to, const std::byte* from);

}  // namespace kvi::cuda
