// Values as text: Python's str() and repr(), and JSON.
//
// Strings keep their marks; punctuation and numbers are the template's own.
// Recursion is bounded by the depth of values.
#pragma once

#include <optional>
#include <string>

#include "jinja/runtime.h"
#include "jinja/value.h"

namespace kvi::jinja {

void print(TextBuilder& out, const Value& value);       // str(value)
void print_repr(TextBuilder& out, const Value& value);  // repr(value)

struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; without it all is on one line
  std::string item_separator = ", ", key_separator = ": ";
};

// As Python's json.dumps. Fails for what JSON does not have.
void print_json(TextBuilder& out, const Value& value, const JsonStyle& style);

std::string float_to_string(double value);  // repr: the shortest digits that read back the same

}  // namespace kvi::jinja
