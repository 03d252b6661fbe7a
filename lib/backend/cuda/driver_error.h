// What a CUDA result means to the library: a status, and whether the device is lost for good.
//
// Thread-safe: pure functions.
#pragma once

#include <string_view>

#include "backend/cuda/driver.h"
#include "base/error.h"

namespace kvi::cuda {

// After such a result every call on the context fails: kernels faulted, or the device did.
bool is_sticky(CUresult result);

// "cannot <attempt>: CUDA_ERROR_... (700), <the driver's words>". Requires: result is no success.
Error error_of(const DriverApi& api, CUresult result, std::string_view attempt);

}  // namespace kvi::cuda
