// A request's usage as the C ABI shows it.
#pragma once

#include "engine/options.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

kvi_usage to_abi(const Usage& usage);

}  // namespace kvi::capi
