// Runs kvi_sim, which lies beside this program: what needs the bare core of the cache, which is no part of the
// public interface.
#pragma once

#include <string>
#include <vector>

#include "output.h"

namespace cli {

// Its stdout, once it has ended; what it writes to stderr appears as it comes. Throws Failure with its exit code, and
// where it cannot be started.
std::string run_core_program(const std::vector<std::string>& arguments);
// With --json added: its answer.
Json ask_core_program(std::vector<std::string> arguments);

// A model's layers as its arguments.
std::vector<std::string> core_shape_arguments(const kvi_model_info& info, uint32_t page_len);

}  // namespace cli
