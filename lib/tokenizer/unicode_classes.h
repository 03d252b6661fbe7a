// The three character classes that pre-tokenizers know: \p{L}, \p{N} and \s.
//
// The tables follow the reference's regex engine (generate_unicode.py says how). Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/utf8.h"

namespace kvi {

enum class CharClass : uint8_t { none, letter, number, space, other };  // none: the end of the text

CharClass class_of(char32_t code_point);
extern const std::array<CharClass, 128> kAsciiClasses;

struct ClassedChar {
  char32_t value = 0;
  int size = 0;  // bytes; 0 at the end of the text
  CharClass cls = CharClass::none;
};

// The character that starts at text[pos]; past the end one of class none.
inline ClassedChar char_at(std::string_view text, size_t pos) {
  if (pos < text.size() && static_cast<unsigned char>(text[pos]) < 128) {
    const unsigned char c = static_cast<unsigned char>(text[pos]);
    return {c, 1, kAsciiClasses[c]};
  }
  const CodePoint c = decode_utf8(text, pos);
  if (c.size == 0) return {};
  return {c.value, c.size, class_of(c.value)};
}

}  // namespace kvi
