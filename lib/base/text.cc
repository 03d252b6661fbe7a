#include "base/text.h"

#include <cstdio>

#include "base/utf8.h"

namespace kvi {
namespace {

// Not: the controls of ASCII and Latin-1, line separators, and what turns the direction of writing.
bool is_printable(char32_t c) {
  if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return false;
  return !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

std::string quoted(std::string_view text, size_t max_len) {
  std::string out = "'";
  size_t pos = 0;
  while (pos < text.size()) {
    const CodePoint point = decode_utf8(text, pos);
    const size_t size = static_cast<size_t>(point.size);
    if (pos + size > max_len) break;
    if (point.valid && is_printable(point.value)) {
      out += text.substr(pos, size);
    } else {
      for (char c : text.substr(pos, size)) {
        char escape[5];
        std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(c));
        out += escape;
      }
    }
    pos += size;
  }
  return out + (pos < text.size() ? "...'" : "'");
}

}  // namespace kvi
