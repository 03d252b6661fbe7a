// Version, features, names of statuses and the devices.
#include <cstring>
#include <string_view>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cuda/cuda_backend.h"
#include "base/os_cpu.h"
#include "base/status.h"
#include "capi/arguments.h"
#include "capi/device.h"
#include "capi/guard.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr kvi_device_info kNoDevice = {};

template <size_t N>
void copy_name(char (&out)[N], std::string_view name) {
  std::memcpy(out, name.data(), std::min(name.size(), N - 1));
}

std::vector<cuda::DeviceDescription> gpus() { return cuda::devices(); }

}  // namespace

namespace kvi::capi {

void throw_no_device(uint64_t index, uint64_t num_gpus) {
  throw Error(Status::NOT_FOUND,
              concat("there is no device ", index, "; device 0 is the CPU, and there ",
                     num_gpus == 1 ? "is 1 GPU" : concat("are ", num_gpus, " GPUs")));
}

std::shared_ptr<Backend> open_backend(int32_t kind, uint32_t device) {
  switch (kind) {
    case KVI_BACKEND_OF_DEVICE: {
      if (device == 0) return nullptr;
      const uint64_t num_gpus = gpus().size();
      if (device > num_gpus) throw_no_device(device, num_gpus);
      return cuda::make_cuda_backend(static_cast<int>(device - 1));
    }
    case KVI_BACKEND_AUTO: {
      const std::vector<cuda::DeviceDescription> found = gpus();
      for (size_t i = 0; i < found.size(); ++i) {
        if (found[i].unsupported_reason.empty())
          return cuda::make_cuda_backend(static_cast<int>(i));
      }
      return nullptr;
    }
    case KVI_BACKEND_CPU:
      if (device != 0) reject_value("device", device, "0 for KVI_BACKEND_CPU");
      return nullptr;
    case KVI_BACKEND_CUDA:
      if (device > INT32_MAX) throw_no_device(device, gpus().size());
      return cuda::make_cuda_backend(static_cast<int>(device));
    default: reject_value("backend", kind, "one of KVI_BACKEND_*");
  }
}

}  // namespace kvi::capi

extern "C" {

uint32_t kvi_version(void) {
  return KVI_VERSION_MAJOR << 16 | KVI_VERSION_MINOR << 8 | KVI_VERSION_PATCH;
}

int32_t kvi_has_feature(const char* name) {
  if (name == nullptr) return 0;
  for (std::string_view feature : {"cpu", "gguf", "safetensors"}) {
    if (feature == name) return 1;
  }
  return std::string_view("cuda") == name && cuda::is_built();
}

const char* kvi_status_name(kvi_status status) { return status_name(static_cast<Status>(status)); }

kvi_status kvi_device_info_init(kvi_device_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kNoDevice); });
}

uint32_t kvi_device_count(void) {
  uint32_t count = 1;
  static_cast<void>(guarded(nullptr, [&] { count += static_cast<uint32_t>(gpus().size()); }));
  return count;
}

kvi_status kvi_device_get_info(uint32_t index, kvi_device_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require_result(info, "info");
    kvi_device_info result = kNoDevice;
    if (index > 0) {
      const std::vector<cuda::DeviceDescription> found = gpus();
      if (index > found.size()) throw_no_device(index, found.size());
      const cuda::DeviceDescription& gpu = found[index - 1];
      result.memory_bytes = gpu.memory_bytes;
      result.backend = KVI_BACKEND_CUDA;
      result.supported = gpu.unsupported_reason.empty();
      copy_name(result.name, gpu.name);
      copy_name(result.arch, gpu.arch);
      write_struct(info, result);
      return;
    }
    result.backend = KVI_BACKEND_CPU;
    result.supported = 1;
    result.num_threads = static_cast<uint32_t>(default_num_threads());
    result.memory_bytes = total_memory_bytes();
    copy_name(result.name, "cpu");
    copy_name(result.arch, cpu::isa_name(cpu::best_isa()));
    write_struct(info, result);
  });
}

}  // extern "C"
