// A caller's log function as the library's Log.
#pragma once

#include "base/log.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// destroy(user) is called when the last copy of the log is gone: at once where there is no function.
Log make_log(kvi_log_fn function, void* user, kvi_destroy_fn destroy);

}  // namespace kvi::capi
