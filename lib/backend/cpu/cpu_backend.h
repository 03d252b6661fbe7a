// The CPU backend: repacked weights, one translation unit of kernels per instruction set.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/isa.h"

namespace kvi::cpu {

// Throws UNSUPPORTED when this machine lacks isa.
std::unique_ptr<Backend> make_cpu_backend(Isa isa);

}  // namespace kvi::cpu
