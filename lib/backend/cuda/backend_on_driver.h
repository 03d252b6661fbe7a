// The CUDA backend over a given driver: the system's, or one that a test made.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cuda/driver.h"

namespace kvi::cuda {

std::unique_ptr<Backend> make_cuda_backend(std::shared_ptr<const Driver> driver, int index);

}  // namespace kvi::cuda
