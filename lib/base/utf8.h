// UTF-8: strict decoding of one code point, validation, encoding. (RFC 3629: no surrogates,
// no overlong forms, at most U+10FFFF.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvi {

struct CodePoint {
  char32_t value = 0xfffd;
  int size = 0;  // bytes taken; 0 at the end of the text
  // False: an ill-formed sequence, of which size bytes (at least 1) are to be skipped.
  bool valid = false;
};

// The code point that starts at text[pos].
CodePoint decode_utf8(std::string_view text, size_t pos);

void append_utf8(std::string& out, char32_t code_point);  // requires: a Unicode scalar value

// The length of the longest prefix that is well-formed UTF-8.
size_t valid_utf8_prefix(std::string_view text);
inline bool is_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }

// Whether tail (shorter than a code point) may still become one when more bytes follow.
bool is_utf8_start(std::string_view tail);

}  // namespace kvi
