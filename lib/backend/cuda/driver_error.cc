#include "backend/cuda/driver_error.h"

#include "base/text.h"

namespace kvi::cuda {
namespace {

Status status_of(CUresult result) {
  if (is_sticky(result)) return Status::DEVICE_LOST;
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY: return Status::OUT_OF_MEMORY;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE: return Status::NOT_FOUND;
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION: return Status::UNSUPPORTED;
    default: return Status::INTERNAL;
  }
}

}  // namespace

bool is_sticky(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_UNKNOWN: return true;
    default: return false;
  }
}

Error error_of(const DriverApi& api, CUresult result, std::string_view attempt) {
  const char *name = nullptr, *text = nullptr;
  if (api.get_error_name(result, &name) != CUDA_SUCCESS || name == nullptr) name = "CUDA error";
  if (api.get_error_string(result, &text) != CUDA_SUCCESS || text == nullptr) text = "no details";
  const Status status = status_of(result);
  return Error(status, concat("the GPU cannot ", attempt, ": ", name, " (",
                              static_cast<int>(result), "), ", text,
                              status == Status::DEVICE_LOST
                                  ? "; the device is lost to this process's engines: destroy them"
                                  : ""));
}

}  // namespace kvi::cuda
