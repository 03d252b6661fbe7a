#include "tokenizer/nfc.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <vector>

#include "base/utf8.h"

namespace kvi {
namespace {

struct CombiningRange {
  uint32_t first, last;
  uint8_t combining_class;
};
struct Singleton {
  uint32_t composed, decomposed;
};
struct Pair {
  uint32_t composed, first, second;
  bool composes;  // false: NFC keeps the parts apart (composition exclusions)
};
#include "tokenizer/unicode_nfc.inc"

// Hangul syllables are arithmetic (The Unicode Standard, 3.12).
constexpr uint32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11a7;
constexpr uint32_t kNumLeads = 19, kNumVowels = 21, kNumTrails = 28;
constexpr uint32_t kNumSyllables = kNumLeads * kNumVowels * kNumTrails;

// The first character that is not unchanged by NFC whatever its neighbours.
constexpr char32_t kFirstAffected = 0x300;

struct Mark {
  char32_t value;
  int combining_class;
};

template <typename Table>
auto find_composed(const Table& table, char32_t c) {
  auto row = std::lower_bound(std::begin(table), std::end(table), c,
                              [](const auto& r, char32_t value) { return r.composed < value; });
  return row != std::end(table) && row->composed == c ? row : nullptr;
}

int combining_class(char32_t c) {
  if (c < kFirstAffected) return 0;
  auto range = std::upper_bound(std::begin(kCombining), std::end(kCombining), c,
                                [](char32_t v, const CombiningRange& r) { return v < r.first; });
  if (range == std::begin(kCombining)) return 0;
  --range;
  return c <= range->last ? range->combining_class : 0;
}

void append_decomposed(char32_t c, std::vector<Mark>& out) {
  if (c - kSyllables < kNumSyllables) {
    const uint32_t index = c - kSyllables;
    out.push_back({kLeads + index / (kNumVowels * kNumTrails), 0});
    out.push_back({kVowels + index / kNumTrails % kNumVowels, 0});
    if (index % kNumTrails) out.push_back({kTrails + index % kNumTrails, 0});
  } else if (const Pair* pair = find_composed(kPairs, c)) {
    append_decomposed(pair->first, out);
    append_decomposed(pair->second, out);
  } else if (const Singleton* singleton = find_composed(kSingletons, c)) {
    append_decomposed(singleton->decomposed, out);
  } else {
    out.push_back({c, combining_class(c)});
  }
}

constexpr bool parts_before(const Pair& a, const Pair& b) {
  return a.first != b.first ? a.first < b.first : a.second < b.second;
}

constexpr size_t kNumCompositions = std::count_if(std::begin(kPairs), std::end(kPairs),
                                                  [](const Pair& p) { return p.composes; });

constexpr std::array<Pair, kNumCompositions> pairs_by_parts() {
  std::array<Pair, kNumCompositions> pairs{};
  std::copy_if(std::begin(kPairs), std::end(kPairs), pairs.begin(),
               [](const Pair& p) { return p.composes; });
  std::sort(pairs.begin(), pairs.end(), parts_before);
  return pairs;
}

constexpr std::array<Pair, kNumCompositions> kCompositions = pairs_by_parts();

// The character that first and second compose to, or 0.
char32_t compose(char32_t first, char32_t second) {
  if (first - kLeads < kNumLeads && second - kVowels < kNumVowels) {
    return kSyllables + ((first - kLeads) * kNumVowels + (second - kVowels)) * kNumTrails;
  }
  if (first - kSyllables < kNumSyllables && (first - kSyllables) % kNumTrails == 0 &&
      second > kTrails && second - kTrails < kNumTrails) {
    return first + (second - kTrails);
  }
  const Pair parts{0, first, second, true};
  auto pair = std::lower_bound(kCompositions.begin(), kCompositions.end(), parts, parts_before);
  if (pair == kCompositions.end() || parts_before(parts, *pair)) return 0;
  return pair->composed;
}

// Composes in place, UAX #15 section 1.3: a mark joins the last starter unless a mark between
// them has the same or a higher class.
void compose_all(std::vector<Mark>& text) {
  size_t out = 0, starter = 0;
  bool has_starter = false;
  for (const Mark& mark : text) {
    const bool adjacent = has_starter && out == starter + 1;
    const bool blocked = !adjacent &&
                         (!has_starter || text[out - 1].combining_class >= mark.combining_class);
    if (!blocked) {
      if (char32_t composed = compose(text[starter].value, mark.value)) {
        text[starter].value = composed;
        continue;
      }
    }
    if (mark.combining_class == 0) {
      starter = out;
      has_starter = true;
    }
    text[out++] = mark;
  }
  text.resize(out);
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  bool affected = false;
  for (size_t pos = 0; pos < text.size() && !affected;) {
    const CodePoint c = decode_utf8(text, pos);
    affected = c.value >= kFirstAffected;
    pos += c.size;
  }
  if (!affected) return std::string(text);

  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = decode_utf8(text, pos);
    append_decomposed(c.value, marks);
    pos += c.size;
  }
  for (auto run = marks.begin(); run != marks.end();) {
    auto end = std::find_if(run, marks.end(), [](const Mark& m) { return m.combining_class == 0; });
    std::stable_sort(run, end, [](const Mark& a, const Mark& b) {
      return a.combining_class < b.combining_class;
    });
    run = end == marks.end() ? end : end + 1;
  }
  compose_all(marks);
  std::string out;
  out.reserve(text.size());
  for (const Mark& mark : marks) append_utf8(out, mark.value);
  return out;
}

}  // namespace kvi
