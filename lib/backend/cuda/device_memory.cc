#include "backend/cuda/device_memory.h"

#include "base/error.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

CUdeviceptr address_of(const std::byte* data) { return reinterpret_cast<CUdeviceptr>(data); }

}  // namespace

DeviceBuffer::DeviceBuffer(std::shared_ptr<const Device> device, uint64_t num_bytes,
                           std::string_view purpose)
    : device_(std::move(device)), size_(num_bytes) {
  if (size_ == 0) return;
  const CurrentContext current(*device_);
  if (!device_->check_memory(device_->api().mem_alloc(&address_, size_), "allocate memory")) {
    const uint64_t free = device_->memory_info().free;
    throw Error(
        Status::OUT_OF_MEMORY,
        concat(device_->info().name, " has no ", format_bytes(size_), " for ", purpose, ": ",
               format_bytes(free), " of ", format_bytes(device_->info().memory_bytes), " are free"))
        .amounts(size_, free);
  }
}

DeviceBuffer::~DeviceBuffer() {
  if (address_ == 0) return;
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().mem_free(address_);
}

PinnedBuffer::PinnedBuffer(std::shared_ptr<const Device> device, uint64_t num_bytes)
    : device_(std::move(device)), size_(num_bytes) {
  if (size_ == 0) return;
  const CurrentContext current(*device_);
  void* data = nullptr;
  if (!device_->check_memory(device_->api().mem_host_alloc(&data, size_, CU_MEMHOSTALLOC_PORTABLE),
                             "allocate host memory")) {
    throw Error(Status::OUT_OF_MEMORY,
                concat("the system has no ", format_bytes(size_), " of memory to pin for copies"))
        .amounts(size_, 0);
  }
  data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ == nullptr) return;
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().mem_free_host(data_);
}

void copy_to_device(const Device& device, std::byte* to, std::span<const std::byte> from) {
  if (from.empty()) return;
  const CurrentContext current(device);
  device.check(
      device.api().memcpy_h_to_d_async(address_of(to), from.data(), from.size(), device.stream()),
      "copy from the host");
}

void copy_to_host(const Device& device, std::span<std::byte> to, const std::byte* from) {
  if (to.empty()) return;
  const CurrentContext current(device);
  device.check(
      device.api().memcpy_d_to_h_async(to.data(), address_of(from), to.size(), device.stream()),
      "copy to the host");
}

}  // namespace kvi::cuda
