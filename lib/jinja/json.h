// Reads JSON as values of a template. All its strings, keys too, count as from a message: they may
// carry what users or tools said.
//
// Stateless, so thread-safe.
#pragma once

#include <string_view>

#include "jinja/runtime.h"

namespace kvi::jinja {

// Throws INVALID_ARGUMENT naming `what` and the byte where text is no JSON object, UNSUPPORTED where
// it nests too deep or holds an integer beyond 64 bits.
Value parse_json_object(Runtime& runtime, std::string_view text, std::string_view what);

}  // namespace kvi::jinja
