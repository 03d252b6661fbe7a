// The CUDA backend: weights as stored, pages under mapped memory, plain kernels on one stream.
//
// Where the library was built without CUDA (cuda_absent.cc) there are no devices, and opening one says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace kvi::cuda {

bool is_built();  // with CUDA

struct DeviceDescription {
  std::string name, arch;  // "NVIDIA H100 80GB HBM3", "sm_90"
  uint64_t memory_bytes = 0;
  std::string unsupported_reason;  // "": it can be used
};

// The GPUs here, in the driver's order; none without a driver. why_none: then filled with the reason.
std::vector<DeviceDescription> devices(std::string* why_none = nullptr);

// Throws UNSUPPORTED (no CUDA in this build, no driver, too old a driver or GPU), NOT_FOUND (no such GPU),
// OUT_OF_MEMORY, DEVICE_LOST.
std::unique_ptr<Backend> make_cuda_backend(int index);

}  // namespace kvi::cuda
