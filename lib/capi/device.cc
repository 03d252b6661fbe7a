// Version, features, names of statuses and the devices.
#include <cstring>
#include <string_view>

#include "backend/cpu/isa.h"
#include "base/os_cpu.h"
#include "base/status.h"
#include "capi/arguments.h"
#include "capi/guard.h"
#include "capi/versioned.h"

using namespace kvi;
using namespace kvi::capi;

namespace {

constexpr uint32_t kNumDevices = 1;
constexpr kvi_device_info kNoDevice = {};

template <size_t N>
void copy_name(char (&out)[N], std::string_view name) {
  std::memcpy(out, name.data(), std::min(name.size(), N - 1));
}

}  // namespace

extern "C" {

uint32_t kvi_version(void) {
  return KVI_VERSION_MAJOR << 16 | KVI_VERSION_MINOR << 8 | KVI_VERSION_PATCH;
}

int32_t kvi_has_feature(const char* name) {
  if (name == nullptr) return 0;
  for (std::string_view feature : {"cpu", "gguf", "safetensors"}) {
    if (feature == name) return 1;
  }
  return 0;
}

const char* kvi_status_name(kvi_status status) { return status_name(static_cast<Status>(status)); }

kvi_status kvi_device_info_init(kvi_device_info* info, size_t struct_size) {
  return guarded(nullptr, [&] { init_struct(info, struct_size, kNoDevice); });
}

uint32_t kvi_device_count(void) { return kNumDevices; }

kvi_status kvi_device_get_info(uint32_t index, kvi_device_info* info, kvi_error** error) {
  return guarded(error, [&] {
    require_result(info, "info");
    if (index >= kNumDevices) {
      throw Error(Status::NOT_FOUND, concat("there is no device ", index, "; device 0 is the CPU"));
    }
    kvi_device_info result = kNoDevice;
    result.num_threads = static_cast<uint32_t>(default_num_threads());
    result.memory_bytes = total_memory_bytes();
    copy_name(result.name, "cpu");
    copy_name(result.arch, cpu::isa_name(cpu::best_isa()));
    write_struct(info, result);
  });
}

}  // extern "C"
