// kvi_engine_options as the engine takes them.
#pragma once

#include "engine/options.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// Whether an engine is about to be made, which owns the log from here on, or options only looked at.
enum class LogUse { take, leave };

// options: NULL means the defaults. The engine checks the values.
EngineOptions engine_options_argument(const kvi_engine_options* options, LogUse log_use);

}  // namespace kvi::capi
