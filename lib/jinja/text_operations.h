// String operations that methods and filters share, on marked text: each result is cut from or
// joined of its operands, so marks survive.
//
// Not thread-safe: they meter through the runtime.
#pragma once

#include "jinja/runtime.h"
#include "jinja/strings.h"

namespace kvi::jinja {

// chars: a string, or none for whitespace.
Value strip_text(Runtime& runtime, const MarkedText& text, Sides sides, const Value& chars);
Value replace_text(Runtime& runtime, const MarkedText& text, const MarkedText& from,
                   const MarkedText& to, int64_t max_count);
Value join_text(Runtime& runtime, const MarkedText& separator, const std::vector<Value>& items);

enum class Case { upper, lower, title };
void append_cased(TextBuilder& out, const MarkedText& text, size_t begin, size_t end, Case to);
Value capitalize_text(Runtime& runtime, const MarkedText& text);

}  // namespace kvi::jinja
