// Options of a session, for every call that makes one.
#pragma once

#include "engine/options.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// Throws INVALID_ARGUMENT or UNSUPPORTED naming the option. options: NULL: the defaults.
SessionOptions session_options_argument(const kvi_session_options* options);

}  // namespace kvi::capi
