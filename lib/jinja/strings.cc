#include "jinja/strings.h"

#include <algorithm>
#include <cstring>

#include "base/utf8.h"

namespace kvi::jinja {

namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

size_t previous_code_point(std::string_view text, size_t pos) {
  do {
    --pos;
  } while (pos > 0 && is_continuation(text[pos]));
  return pos;
}

bool is_space_at(std::string_view text, size_t pos) {
  return is_space(decode_utf8(text, pos).value);
}

// str.splitlines breaks at more than '\n'.
bool is_line_break(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

size_t next_code_point(std::string_view text, size_t pos) {
  do {
    ++pos;
  } while (pos < text.size() && is_continuation(text[pos]));
  return pos;
}

size_t code_point_offset(std::string_view text, size_t number) {
  size_t pos = 0;
  while (pos < text.size() && number-- > 0) pos = next_code_point(text, pos);
  return pos;
}

size_t find_text(std::string_view text, std::string_view pattern, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, pattern.data(),
                             pattern.size());
  if (!found) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

Range strip(std::string_view text, Sides sides, std::optional<std::string_view> chars) {
  auto goes = [&](size_t begin, size_t end) {
    return chars ? chars->find(text.substr(begin, end - begin)) != std::string_view::npos
                 : is_space_at(text, begin);
  };
  Range kept{0, text.size()};
  while (sides != Sides::right && kept.begin < kept.end) {
    size_t next = next_code_point(text, kept.begin);
    if (!goes(kept.begin, next)) break;
    kept.begin = next;
  }
  while (sides != Sides::left && kept.begin < kept.end) {
    size_t last = previous_code_point(text, kept.end);
    if (!goes(last, kept.end)) break;
    kept.end = last;
  }
  return kept;
}

namespace {

std::vector<Range> split_at_spaces(std::string_view text, int64_t max_splits) {
  std::vector<Range> words;
  size_t pos = strip(text, Sides::left, {}).begin;
  while (pos < text.size()) {
    size_t end = pos;
    if (static_cast<int64_t>(words.size()) == max_splits) {
      end = text.size();
    } else {
      while (end < text.size() && !is_space_at(text, end)) end = next_code_point(text, end);
    }
    words.push_back({pos, end});
    pos = end;
    while (pos < text.size() && is_space_at(text, pos)) pos = next_code_point(text, pos);
  }
  return words;
}

std::vector<Range> split_at_spaces_from_right(std::string_view text, int64_t max_splits) {
  std::vector<Range> words;
  size_t end = strip(text, Sides::right, {}).end;
  while (end > 0) {
    size_t begin = end;
    if (static_cast<int64_t>(words.size()) == max_splits) {
      begin = 0;
    } else {
      while (begin > 0) {
        size_t previous = previous_code_point(text, begin);
        if (is_space_at(text, previous)) break;
        begin = previous;
      }
    }
    words.push_back({begin, end});
    end = strip(text.substr(0, begin), Sides::right, {}).end;
  }
  std::reverse(words.begin(), words.end());
  return words;
}

}  // namespace

std::vector<Range> split(std::string_view text, std::optional<std::string_view> separator,
                         int64_t max_splits, Sides from) {
  if (!separator) {
    return from == Sides::right ? split_at_spaces_from_right(text, max_splits)
                                : split_at_spaces(text, max_splits);
  }
  std::vector<Range> parts;
  auto may_split = [&] {
    return max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits;
  };
  if (from == Sides::right) {
    size_t end = text.size();
    while (may_split() && end >= separator->size()) {
      size_t found = text.rfind(*separator, end - separator->size());
      if (found == std::string_view::npos) break;
      parts.push_back({found + separator->size(), end});
      end = found;
    }
    parts.push_back({0, end});
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t begin = 0;
  while (may_split()) {
    size_t found = find_text(text, *separator, begin);
    if (found == std::string_view::npos) break;
    parts.push_back({begin, found});
    begin = found + separator->size();
  }
  parts.push_back({begin, text.size()});
  return parts;
}

std::vector<Range> split_lines(std::string_view text, bool keep_ends) {
  std::vector<Range> lines;
  size_t begin = 0, pos = 0;
  while (pos < text.size()) {
    char32_t c = decode_utf8(text, pos).value;
    size_t end = pos;
    pos = next_code_point(text, pos);
    if (!is_line_break(c)) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back({begin, keep_ends ? pos : end});
    begin = pos;
  }
  if (begin < text.size()) lines.push_back({begin, text.size()});
  return lines;
}

}  // namespace kvi::jinja
