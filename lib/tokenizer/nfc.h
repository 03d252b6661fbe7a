// Unicode normalisation form C (UAX #15), which some tokenizers (Qwen2's) apply to their input.
//
// Knows the characters that the reference's normaliser knows (generate_unicode.py). Thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace kvi {

std::string normalize_nfc(std::string_view text);  // requires: well-formed UTF-8

}  // namespace kvi
