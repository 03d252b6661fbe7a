// From the options that name a device to its backend.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace kvi::capi {

// kind: KVI_BACKEND_*. nullptr: the CPU. Throws INVALID_ARGUMENT, NOT_FOUND, and as make_cuda_backend.
std::shared_ptr<Backend> open_backend(int32_t kind, uint32_t device);

[[noreturn]] void throw_no_device(uint64_t index, uint64_t num_gpus);

}  // namespace kvi::capi
