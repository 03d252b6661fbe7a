// kvi_engine_options as the engine takes them, and values that other options share with them.
#pragma once

#include <optional>

#include "engine/options.h"
#include "kvinfer/kvinfer.h"

namespace kvi::capi {

// options: NULL means the defaults. The log belongs to the result, also where this throws. The engine
// checks the values.
EngineOptions engine_options_argument(const kvi_engine_options* options);

Precision precision_argument(int32_t activations);

inline std::optional<uint32_t> unless_auto(uint32_t value) {
  return value == KVI_AUTO ? std::nullopt : std::optional(value);
}

}  // namespace kvi::capi
