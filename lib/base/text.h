// Small text tools for messages: concat, byte counts for people, quoting of untrusted strings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace kvi {

inline void append_text(std::string& out, std::string_view text) { out += text; }
inline void append_text(std::string& out, const char* text) { out += text; }
inline void append_text(std::string& out, char c) { out += c; }
template <typename T>
  requires std::is_arithmetic_v<T>
void append_text(std::string& out, T value) { out += std::to_string(value); }

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (append_text(out, parts), ...);
  return out;
}

std::string format_bytes(uint64_t bytes);  // "1.50 GiB"

// Quotes text from a file or a user for a message: printable UTF-8 kept, control characters and what
// is ill-formed escaped, cut after at most max_len bytes. A hostile name can neither flood nor garble
// a log.
std::string quoted(std::string_view text, size_t max_len = 80);

}  // namespace kvi
