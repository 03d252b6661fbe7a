// The filters, tests, methods and functions that templates may use; there are no others.
//
// Native functions see the runtime and the values given, nothing else.
//
// Constant tables, so thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "jinja/runtime.h"

namespace kvi::jinja {

struct Method {  // also a filter, a test or a global function
  std::string_view name;
  Native call;
};

// nullptr where there is none of this name.
const Method* find_filter(std::string_view name);
const Method* find_test(std::string_view name);
const Method* find_function(std::string_view name);
const Method* find_method(const Value& object, std::string_view name);

// The fields of `loop`.
std::optional<Value> loop_field(const Value& loop, std::string_view name);

// Python's format % arguments and format.format(...), without widths and other conversions.
Value format_percent(Runtime& runtime, const Value& format, const Value& arguments);
Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments);

// What strftime shows for UTC, in English whatever the locale.
std::string format_time(Runtime& runtime, std::string_view format, int64_t seconds);

// Binary search in a table sorted by name.
template <size_t N>
const Method* find_sorted(const Method (&table)[N], std::string_view name) {
  size_t low = 0, high = N;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (table[middle].name < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < N && table[low].name == name ? &table[low] : nullptr;
}

}  // namespace kvi::jinja
