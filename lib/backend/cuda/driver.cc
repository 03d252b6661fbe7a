#include "backend/cuda/driver.h"

#include <dlfcn.h>

#include "backend/cuda/driver_error.h"
#include "base/error.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

constexpr char kLibrary[] = "libcuda.so.1";
constexpr const char* kAdvice = "use the CPU, or install NVIDIA's driver";

Error too_old(int version) {
  return Error(Status::UNSUPPORTED,
               concat("the NVIDIA driver here runs CUDA ", version_text(version),
                      "; this library needs a driver for CUDA ", version_text(kLeastDriverVersion),
                      " or newer; update the driver, or use the CPU"))
      .amounts(static_cast<uint64_t>(kLeastDriverVersion), static_cast<uint64_t>(version));
}

}  // namespace

std::string version_text(int version) { return concat(version / 1000, ".", version % 1000 / 10); }

std::shared_ptr<const Driver> open_driver() {
  // Never closed: the driver has threads and exit handlers of its own, and does not survive it.
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();  // NOLINT(concurrency-mt-unsafe): of this thread
    throw Error(
        Status::UNSUPPORTED,
        concat("there is no CUDA driver: ", reason != nullptr ? reason : kLibrary, "; ", kAdvice));
  }
  void* get_proc_address = dlsym(library, "cuGetProcAddress_v2");
  if (get_proc_address == nullptr) {
    int version = 0;
    void* get_version = dlsym(library, "cuDriverGetVersion");
    if (get_version == nullptr ||
        reinterpret_cast<decltype(&::cuDriverGetVersion)>(get_version)(&version) != CUDA_SUCCESS) {
      throw Error(Status::UNSUPPORTED, concat(kLibrary, " is no CUDA driver; ", kAdvice));
    }
    throw too_old(version);
  }
  return resolve_driver(reinterpret_cast<GetProcAddress>(get_proc_address), true);
}

std::shared_ptr<const Driver> resolve_driver(GetProcAddress get_proc_address, bool is_systems) {
  auto driver = std::make_shared<Driver>();
  driver->is_systems = is_systems;
  DriverApi& api = driver->api;
  const auto find = [&](const char* name, int version) {
    void* entry = nullptr;
    CUdriverProcAddressQueryResult found = {};
    const CUresult result = get_proc_address(name, &entry, version, CU_GET_PROC_ADDRESS_DEFAULT,
                                             &found);
    return result == CUDA_SUCCESS ? entry : nullptr;
  };
  api.driver_get_version = reinterpret_cast<decltype(&::cuDriverGetVersion)>(
      find("cuDriverGetVersion", 2020));
  if (api.driver_get_version == nullptr ||
      api.driver_get_version(&driver->version) != CUDA_SUCCESS) {
    throw Error(Status::UNSUPPORTED,
                concat("the CUDA driver does not tell its version; ", kAdvice));
  }
  if (driver->version < kLeastDriverVersion) throw too_old(driver->version);
#define KVI_CUDA_FIND(member, function, since)                                                  \
  api.member = reinterpret_cast<decltype(&::function)>(find(#function, since));                 \
  if (api.member == nullptr) {                                                                  \
    throw Error(Status::UNSUPPORTED,                                                            \
                concat("the CUDA ", version_text(driver->version), " driver lacks ", #function, \
                       "; update the driver, or use the CPU"));                                 \
  }
  KVI_CUDA_DRIVER_CALLS(KVI_CUDA_FIND)
#undef KVI_CUDA_FIND
  const CUresult result = api.init(0);
  if (result != CUDA_SUCCESS) throw error_of(api, result, "initialize the driver");
  return driver;
}

}  // namespace kvi::cuda
