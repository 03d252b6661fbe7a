#include "backend/cuda/device.h"

#include "backend/cuda/driver_error.h"
#include "base/error.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

constexpr int kLeastMajor = 8;  // sm_80: Ampere

DeviceInfo describe(const Driver& driver, CUdevice device) {
  const DriverApi& api = driver.api;
  const auto check = [&](CUresult result, const char* attempt) {
    if (result != CUDA_SUCCESS) throw error_of(api, result, attempt);
  };
  DeviceInfo info;
  char name[128] = {};
  check(api.device_get_name(name, sizeof name - 1, device), "tell its name");
  info.name = name;
  check(api.device_get_attribute(&info.major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
        "tell its compute capability");
  check(api.device_get_attribute(&info.minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
        "tell its compute capability");
  check(api.device_get_attribute(&info.num_sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
        "tell its multiprocessors");
  check(api.device_get_attribute(&info.shared_bytes,
                                 CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device),
        "tell its shared memory");
  size_t total = 0;
  check(api.device_total_mem(&total, device), "tell its memory");
  info.memory_bytes = total;
  int maps_memory = 0;
  check(api.device_get_attribute(&maps_memory,
                                 CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device),
        "tell whether it maps memory");
  if (info.major < kLeastMajor) {
    info.unsupported_reason = concat(info.name, " has compute capability ", info.major, ".",
                                     info.minor, "; this library needs ", kLeastMajor,
                                     ".0 or higher");
  } else if (maps_memory == 0) {
    info.unsupported_reason = concat(info.name, " does not map virtual memory");
  }
  return info;
}

int count_devices(const DriverApi& api) {
  int count = 0;
  const CUresult result = api.device_get_count(&count);
  if (result != CUDA_SUCCESS) throw error_of(api, result, "be counted");
  return count;
}

CUdevice device_at(const DriverApi& api, int index) {
  CUdevice device = 0;
  const CUresult result = api.device_get(&device, index);
  if (result != CUDA_SUCCESS) throw error_of(api, result, "be found");
  return device;
}

}  // namespace

std::string DeviceInfo::arch() const { return concat("sm_", major, minor); }

std::vector<DeviceInfo> list_devices(const Driver& driver) {
  std::vector<DeviceInfo> devices;
  const int count = count_devices(driver.api);
  for (int index = 0; index < count; ++index) {
    devices.push_back(describe(driver, device_at(driver.api, index)));
  }
  return devices;
}

Device::Device(std::shared_ptr<const Driver> driver, int index) : driver_(std::move(driver)) {
  const int count = count_devices(api());
  if (index < 0 || index >= count) {
    throw Error(Status::NOT_FOUND, count == 0 ? std::string("there is no GPU here; use the CPU")
                                              : concat("there is no GPU ", index, "; there are ",
                                                       count, ", counted from 0"))
        .amounts(static_cast<uint64_t>(index) + 1, static_cast<uint64_t>(count));
  }
  device_ = device_at(api(), index);
  info_ = describe(*driver_, device_);
  if (!info_.unsupported_reason.empty()) {
    throw Error(Status::UNSUPPORTED, concat("GPU ", index, ": ", info_.unsupported_reason));
  }
  check(api().primary_ctx_retain(&context_, device_), "open a context");
  try {
    const CurrentContext current(*this);
    check(api().stream_create(&stream_, CU_STREAM_NON_BLOCKING), "create a stream");
  } catch (...) {
    api().primary_ctx_release(device_);
    throw;
  }
}

Device::~Device() {
  {
    const CurrentContext current(*this, CurrentContext::ForRelease());
    api().stream_synchronize(stream_);
    api().stream_destroy(stream_);
  }
  api().primary_ctx_release(device_);
}

void Device::check(CUresult result, std::string_view attempt) const {
  if (result == CUDA_SUCCESS) return;
  if (is_sticky(result)) lost_.store(result);
  throw error_of(api(), result, attempt);
}

void Device::lose() const noexcept {
  CUresult none = CUDA_SUCCESS;
  lost_.compare_exchange_strong(none, CUDA_ERROR_UNKNOWN);
}

bool Device::check_memory(CUresult result, std::string_view attempt) const {
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return false;
  check(result, attempt);
  return true;
}

Device::MemoryInfo Device::memory_info() const {
  const CurrentContext current(*this);
  size_t free = 0, total = 0;
  check(api().mem_get_info(&free, &total), "tell its free memory");
  return {free, total};
}

void Device::synchronize() const {
  const CurrentContext current(*this);
  check(api().stream_synchronize(stream_), "finish its work");
}

CurrentContext::CurrentContext(const Device& device) : device_(device), is_pushed_(true) {
  if (device.is_lost()) throw error_of(device.api(), device.lost_.load(), "go on");
  device.check(device.api().ctx_push_current(device.context_), "enter its context");
}

CurrentContext::CurrentContext(const Device& device, ForRelease) noexcept
    : device_(device), is_pushed_(device.api().ctx_push_current(device.context_) == CUDA_SUCCESS) {}

CurrentContext::~CurrentContext() {
  CUcontext popped = nullptr;
  if (is_pushed_) device_.api().ctx_pop_current(&popped);
}

}  // namespace kvi::cuda
