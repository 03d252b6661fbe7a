// Pre-tokenizing by regexes that a tokenizer.json states, through PCRE2.
//
// The general path: slower than the scanners of pretokenizer.cc, whose oracle it is in the tests.
// Thread-safe.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "tokenizer/pretokenizer.h"

namespace kvi {

// Each pattern isolates its matches inside the stretches that those before it left. Throws
// UNSUPPORTED for a regex that PCRE2 does not take; split throws UNSUPPORTED when matching takes
// more steps than any sane pattern needs.
std::unique_ptr<const Pretokenizer> create_regex_pretokenizer(
    std::span<const std::string> patterns);

}  // namespace kvi
