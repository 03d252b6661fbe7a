#include "tokenizer/unicode_classes.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace kvi {
namespace {

struct ClassRange {
  uint32_t first, last;
  CharClass cls;
};

constexpr CharClass L = CharClass::letter;
constexpr CharClass N = CharClass::number;
constexpr CharClass S = CharClass::space;
#include "tokenizer/unicode_classes.inc"

constexpr std::array<CharClass, 128> ascii_classes() {
  std::array<CharClass, 128> classes{};
  for (CharClass& cls : classes) cls = CharClass::other;
  for (const ClassRange& range : kClassRanges) {
    for (uint32_t c = range.first; c <= range.last && c < 128; ++c) classes[c] = range.cls;
  }
  return classes;
}

}  // namespace

constexpr std::array<CharClass, 128> kAsciiClasses = ascii_classes();

CharClass class_of(char32_t code_point) {
  if (code_point < 128) return kAsciiClasses[code_point];
  const ClassRange* range = std::upper_bound(
      std::begin(kClassRanges), std::end(kClassRanges), code_point,
      [](char32_t c, const ClassRange& r) { return c < r.first; });
  return code_point <= std::prev(range)->last ? std::prev(range)->cls : CharClass::other;
}

}  // namespace kvi
