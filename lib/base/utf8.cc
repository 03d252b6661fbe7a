#include "base/utf8.h"

namespace kvi {
namespace {

struct Lead {
  int size;  // bytes of the whole sequence, 0 for a byte that starts none
  unsigned char second_min, second_max;
};

// Table 3-7 of the Unicode standard: the second byte's range rules out overlong forms,
// surrogates and values past U+10FFFF.
Lead lead_of(unsigned char c) {
  if (c < 0x80) return {1, 0, 0};
  if (c < 0xc2) return {0, 0, 0};
  if (c < 0xe0) return {2, 0x80, 0xbf};
  if (c == 0xe0) return {3, 0xa0, 0xbf};
  if (c == 0xed) return {3, 0x80, 0x9f};
  if (c < 0xf0) return {3, 0x80, 0xbf};
  if (c == 0xf0) return {4, 0x90, 0xbf};
  if (c < 0xf4) return {4, 0x80, 0xbf};
  if (c == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// How many bytes from text[pos] on agree with lead; its size when the sequence is whole.
int matching_bytes(std::string_view text, size_t pos, const Lead& lead) {
  int n = 1;
  while (n < lead.size && pos + n < text.size()) {
    unsigned char c = static_cast<unsigned char>(text[pos + n]);
    unsigned char low = n == 1 ? lead.second_min : 0x80;
    unsigned char high = n == 1 ? lead.second_max : 0xbf;
    if (c < low || c > high) break;
    ++n;
  }
  return n;
}

}  // namespace

CodePoint decode_utf8(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {};
  unsigned char first = static_cast<unsigned char>(text[pos]);
  Lead lead = lead_of(first);
  if (lead.size == 0) return {0xfffd, 1, false};
  int n = matching_bytes(text, pos, lead);
  if (n < lead.size) return {0xfffd, n, false};
  static const unsigned char kLeadMask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
  char32_t value = first & kLeadMask[lead.size];
  for (int i = 1; i < lead.size; ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[pos + i]) & 0x3f);
  }
  return {value, lead.size, true};
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    CodePoint c = decode_utf8(text, pos);
    if (!c.valid) break;
    pos += c.size;
  }
  return pos;
}

bool is_utf8_start(std::string_view tail) {
  if (tail.empty()) return true;
  Lead lead = lead_of(static_cast<unsigned char>(tail[0]));
  return static_cast<size_t>(lead.size) > tail.size() &&
         matching_bytes(tail, 0, lead) == static_cast<int>(tail.size());
}

}  // namespace kvi
