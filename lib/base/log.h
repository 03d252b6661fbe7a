// Where one model's or engine's log goes: the caller's function, or nowhere. Never prompt text.
//
// Thread-safe when the caller's function is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace kvi {

enum class LogLevel : int32_t { error = 0, warning = 1, info = 2, debug = 3 };

using Log = std::function<void(LogLevel, const std::string& message)>;

inline void log_message(const Log& log, LogLevel level, const std::string& message) {
  if (log) log(level, message);
}

}  // namespace kvi
