// Python's string methods as positions: where to cut, where the matches are.
//
// Positions are byte offsets into well-formed UTF-8, counts are code points. The callers cut marked
// text at these positions, so no operation here needs to know of marks.
//
// Stateless, so thread-safe. Linear in the text; callers meter it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvi::jinja {

struct Range {
  size_t begin, end;
};

enum class Sides { left, right, both };

size_t count_code_points(std::string_view text);
size_t next_code_point(std::string_view text, size_t pos);  // requires: pos < size
// Offset of the code point with this number; the size where there are fewer.
size_t code_point_offset(std::string_view text, size_t number);

// As string_view::find, but linear in the text whatever the pattern. (rfind is not; callers meter it.)
size_t find_text(std::string_view text, std::string_view pattern, size_t from = 0);

bool is_space(char32_t code_point);  // str.isspace

// What str.strip leaves; without chars, of whitespace.
Range strip(std::string_view text, Sides sides, std::optional<std::string_view> chars);

// str.split and str.rsplit; without separator, at whitespace. max_splits < 0: no bound.
// Requires: a separator is not empty.
std::vector<Range> split(std::string_view text, std::optional<std::string_view> separator,
                         int64_t max_splits, Sides from);

std::vector<Range> split_lines(std::string_view text, bool keep_ends);

// The code point in the other case, which may be several ("\u00df" -> "SS"), appended to out.
void append_upper(std::string& out, char32_t code_point);
void append_lower(std::string& out, char32_t code_point);
void append_title(std::string& out, char32_t code_point);  // of a word's first: "\u00df" -> "Ss"
bool is_upper(std::string_view text);                      // str.isupper, as far as mappings tell
bool is_lower(std::string_view text);

}  // namespace kvi::jinja
