// Builds the syntax tree of a chat template.
//
// Owns nothing afterwards: the tree stands by itself.
//
// Stateless, so thread-safe.
#pragma once

#include <string_view>

#include "jinja/ast.h"

namespace kvi::jinja {

// Throws CORRUPT for what is not Jinja; UNSUPPORTED for a statement, filter or test that is not
// offered here, for too deep nesting, and for too long a source. Each names its line.
Block parse_template(std::string_view source, const TemplateLimits& limits);

}  // namespace kvi::jinja
