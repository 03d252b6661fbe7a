#include "capi/json_text.h"

#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/text.h"
#include "base/utf8.h"

namespace kvi::capi {
namespace {

constexpr size_t kMaxElements = 8;

void append(std::string& out, bool value) { out += value ? "true" : "false"; }
void append(std::string& out, int64_t value) { out += std::to_string(value); }
void append(std::string& out, uint64_t value) { out += std::to_string(value); }

void append(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char digits[32];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (size_t pos = 0; pos < text.size();) {
    CodePoint c = decode_utf8(text, pos);
    pos += static_cast<size_t>(c.size);
    if (c.value == '"' || c.value == '\\') {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (c.value < 0x20) {
      out += "\\u00";
      out += kHex[c.value >> 4];
      out += kHex[c.value & 15];
    } else {
      append_utf8(out, c.valid ? c.value : U'\ufffd');
    }
  }
  out += '"';
}

template <typename T>
void append_array(std::string& out, const std::vector<T>& items) {
  out += '[';
  for (size_t i = 0; i < items.size() && i < kMaxElements; ++i) {
    if (i > 0) out += ',';
    if constexpr (std::is_same_v<T, std::string>) {
      append(out, std::string_view(items[i]));
    } else {
      append(out, static_cast<T>(items[i]));
    }
  }
  if (items.size() > kMaxElements) {
    out += concat(",\"... ", items.size() - kMaxElements, " more\"");
  }
  out += ']';
}

}  // namespace

std::string to_json(const MetadataValue& value) {
  std::string out;
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          append(out, std::string_view(v));
        } else if constexpr (std::is_arithmetic_v<T>) {
          append(out, v);
        } else {
          append_array(out, v);
        }
      },
      value);
  return out;
}

}  // namespace kvi::capi
