"""Writes lib/jinja/case.cc: upper, lower and title case of Unicode, from Python's own tables.

    python tests/generate/case_tables.py > lib/jinja/case.cc
"""

import sys
import unicodedata

HEADER = f"""// Upper, lower and title case of code points (Unicode {unicodedata.unidata_version}).
// Written by tests/generate/case_tables.py; not edited by hand.
#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/utf8.h"
#include "jinja/strings.h"

namespace kvi::jinja {{
namespace {{

// Code points first, first + stride, ... last map to themselves plus delta.
struct CaseRange {{
  char32_t first, last;
  uint32_t stride;
  int32_t delta;
}};
struct CaseExpansion {{
  char32_t from;
  char32_t to[3];  // ends at 0
}};

// clang-format off"""

FOOTER = """// clang-format on

// Says whether the tables name c.
bool append_mapped(std::string& out, char32_t c, const CaseRange* begin, const CaseRange* end,
                   const CaseExpansion* longer, const CaseExpansion* longer_end) {
  const CaseExpansion* expansion = std::find_if(
      longer, longer_end, [c](const CaseExpansion& candidate) { return candidate.from == c; });
  if (expansion != longer_end) {
    for (char32_t to : expansion->to) {
      if (to) append_utf8(out, to);
    }
    return true;
  }
  // Ranges of stride 2 may interleave, so the one that holds c need not be the last to begin.
  const CaseRange* range = std::find_if(begin, end, [c](const CaseRange& candidate) {
    return c >= candidate.first && c <= candidate.last &&
           (c - candidate.first) % candidate.stride == 0;
  });
  if (range == end) return false;
  append_utf8(out, static_cast<char32_t>(static_cast<int32_t>(c) + range->delta));
  return true;
}

template <typename Append>
bool differs(char32_t c, const Append& append) {
  std::string mapped, same;
  append(mapped, c);
  append_utf8(same, c);
  return mapped != same;
}

bool has_case(std::string_view text, bool upper) {
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    CodePoint c = decode_utf8(text, pos);
    pos += static_cast<size_t>(c.size);
    bool has_lower = differs(c.value, append_lower), has_upper = differs(c.value, append_upper);
    if (upper ? has_upper : has_lower) return false;
    any = any || has_lower || has_upper;
  }
  return any;
}

}  // namespace

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    return;
  }
  if (!append_mapped(out, c, std::begin(kUpper), std::end(kUpper), std::begin(kUpperLonger),
                     std::end(kUpperLonger))) {
    append_utf8(out, c);
  }
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return;
  }
  if (!append_mapped(out, c, std::begin(kLower), std::end(kLower), std::begin(kLowerLonger),
                     std::end(kLowerLonger))) {
    append_utf8(out, c);
  }
}

void append_title(std::string& out, char32_t c) {
  if (!append_mapped(out, c, std::begin(kTitle), std::end(kTitle), std::begin(kTitleLonger),
                     std::end(kTitleLonger))) {
    append_upper(out, c);
  }
}

bool is_upper(std::string_view text) { return has_case(text, true); }
bool is_lower(std::string_view text) { return has_case(text, false); }

}  // namespace kvi::jinja
"""


def tables(mapping, otherwise):
    """Splits a mapping of code points into arithmetic ranges and expansions to several, where it
    differs from the mapping otherwise."""
    deltas, longer = {}, []
    for code in range(0x80, 0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        mapped = mapping(chr(code))
        if mapped == otherwise(chr(code)):
            continue
        if len(mapped) == 1:
            deltas[code] = ord(mapped) - code
        else:
            longer.append((code, [ord(c) for c in mapped]))
    ranges = []
    for code, delta in deltas.items():
        for r in reversed(ranges[-2:]):
            step = code - r[1]
            if r[3] == delta and (r[2] == step or (r[2] == 0 and step <= 2)):
                r[1], r[2] = code, step
                break
        else:
            ranges.append([code, code, 0, delta])
    return ranges, longer


def write_rows(name, kind, rows):
    print(f"\nconstexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 100:
            print(line)
            line = "   "
        line += " " + row + ","
    print(line)
    print("};")


def main():
    sys.stdout.write(HEADER)
    for name, mapping, otherwise in (
            ("kUpper", str.upper, str), ("kLower", str.lower, str), ("kTitle", str.title, str.upper)):
        ranges, longer = tables(mapping, otherwise)
        write_rows(name, "CaseRange",
                   [f"{{{a:#x}, {b:#x}, {max(s, 1)}, {d}}}" for a, b, s, d in ranges])
        write_rows(name + "Longer", "CaseExpansion",
                   [f"{{{a:#x}, {{{', '.join(f'{c:#x}' for c in to)}}}}}" for a, to in longer])
    sys.stdout.write(FOOTER)


if __name__ == "__main__":
    main()
