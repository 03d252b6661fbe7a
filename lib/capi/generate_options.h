// kvi_generate_options as the engine takes them.
#pragma once

#include "engine/options.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// options: NULL means the defaults. The result owns its stop texts and biases; the engine checks
// their values.
GenerateOptions generate_options_argument(const kvi_generate_options* options, int vocab_size);
// Of options that the above accepts: what kvi_request_user gives back.
void* user_of(const kvi_generate_options* options);

}  // namespace kvi::capi
