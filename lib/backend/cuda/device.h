// One GPU as this process uses it: its primary context, one stream, and whether it still works.
//
// The primary context is shared with whatever else uses CUDA in the process; the calling thread's current
// context is put back after every use. Everything is enqueued on the one stream, so it happens in the order of
// the calls.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cuda/driver.h"

namespace kvi::cuda {

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  uint64_t memory_bytes = 0;
  int num_sms = 0;
  int shared_bytes = 0;            // that a thread block may have
  std::string unsupported_reason;  // "": it can be used
  std::string arch() const;        // "sm_90"
};

// Every GPU that the driver shows, in its order.
std::vector<DeviceInfo> list_devices(const Driver& driver);

class Device {
 public:
  // Throws NOT_FOUND (no such index), UNSUPPORTED (too old a GPU), or as error_of says.
  Device(std::shared_ptr<const Driver> driver, int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DriverApi& api() const { return driver_->api; }
  const Driver& driver() const { return *driver_; }
  const DeviceInfo& info() const { return info_; }
  CUdevice handle() const { return device_; }
  CUstream stream() const { return stream_; }

  // Throws what result means, unless it is a success. A sticky one latches: is_lost from then on.
  void check(CUresult result, std::string_view attempt) const;
  // As check, but a refusal for want of memory is false.
  bool check_memory(CUresult result, std::string_view attempt) const;
  bool is_lost() const { return lost_.load() != CUDA_SUCCESS; }
  void lose() const noexcept;  // as a sticky error does, unless there was one

  struct MemoryInfo {
    uint64_t free, total;
  };
  MemoryInfo memory_info() const;  // of the whole GPU, other processes included

  // Waits until everything enqueued is done, and throws what went wrong in it.
  void synchronize() const;

 private:
  friend class CurrentContext;

  std::shared_ptr<const Driver> driver_;
  DeviceInfo info_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  mutable std::atomic<CUresult> lost_{CUDA_SUCCESS};
};

// Makes the device's context the thread's current one for a scope. Throws DEVICE_LOST once it is lost.
class CurrentContext {
 public:
  explicit CurrentContext(const Device& device);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

  // For giving things back: never throws, also on a lost device, where every call fails and none matters.
  struct ForRelease {};
  CurrentContext(const Device& device, ForRelease) noexcept;

 private:
  const Device& device_;
  bool is_pushed_;
};

}  // namespace kvi::cuda
