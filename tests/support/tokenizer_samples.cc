#include "support/tokenizer_samples.h"

#include <fstream>
#include <span>
#include <string_view>

#include "base/utf8.h"

namespace kvi {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::string_view kSpaces[] = {" ",      "  ",       "   ", "\n",  "\n\n",   "\r\n",
                                        "\t",     "\t\t",     " \n", "\n ", "\u00a0", "\u3000",
                                        "\u2028", "\xc2\x85", "\v",  "\f",  "\u1680", "\u200b"};
constexpr std::string_view kDigits[] = {"0",      "1",      "12",     "123",    "2024",   "3.14",
                                        "\u0663", "\u2167", "\u00bd", "\uff11", "\u0967", "\u00b2"};
constexpr std::string_view kContractions[] = {"'s",  "'S", "'t",      "'re", "'RE",
                                              "'Ve", "'m", "'ll",     "'LL", "'d",
                                              "'",   "''", "'\u017f", "'l",  "'r"};
constexpr std::string_view kWords[] = {
    "the",    "Hello",  " of",     " and",         "World",
    "x",      "ing",    "\u2581",  "\u2581the",    "<0x41>",
    "<",      "|>",     "e\u0301", "\u1e9b\u0323", "\u1100\u1161\u11a8",
    "\u212b", "\u0344", "<unk>"};
constexpr std::string_view kSpecials[] = {
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<start_of_turn>", "<end_of_turn>",
    "<bos>",        "<eos>",      "<table>",       "</td>",           "<|im_start",
    "[multimodal]", "<unused9>",  "<repo_name>"};

// splitmix64
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(next() % n); }
  std::string_view of(Words words) { return words[below(static_cast<uint32_t>(words.size()))]; }

 private:
  uint64_t state_;
};

char32_t scalar(Random& random, uint32_t end) {
  const char32_t c = random.below(end);
  const bool excluded = (c >= 0xd800 && c < 0xe000) || (c >= 0x11de0 && c <= 0x11de9) ||
                        (c >= 0x16ff4 && c <= 0x16ff6);
  return excluded ? U'A' : c;
}

std::string last_character(const std::string& text) {
  if (text.empty()) return "a";
  size_t begin = text.size() - 1;
  while ((text[begin] & 0xc0) == 0x80) --begin;
  return text.substr(begin);
}

void append_piece(Random& random, std::string& text) {
  switch (const uint32_t kind = random.below(18)) {
    case 4: text += random.of(kSpaces); return;
    case 5: text += random.of(kDigits); return;
    case 6: text += random.of(kContractions); return;
    case 7: append_utf8(text, 0xa0 + random.below(0x250)); return;
    case 8: append_utf8(text, 0x300 + random.below(0x70)); return;
    case 9: append_utf8(text, 0x4e00 + random.below(0x5200)); return;
    case 10: append_utf8(text, 0xac00 + random.below(11172)); return;
    case 11:
      append_utf8(text, 0x1f300 + random.below(0x400));
      if (random.below(2)) append_utf8(text, 0x200d);
      return;
    case 12: append_utf8(text, scalar(random, 0x110000)); return;
    case 13: append_utf8(text, scalar(random, 0x10000)); return;
    case 14: {
      const std::string last = last_character(text);
      for (uint32_t n = random.below(40); n > 0; --n) text += last;
      return;
    }
    case 15: text += random.of(kSpecials); return;
    default:
      if (kind < 4) {
        append_utf8(text, 0x20 + random.below(95));
      } else {
        text += random.of(kWords);
      }
  }
}

}  // namespace

std::string random_text(uint64_t index) {
  Random random(index);
  std::string text;
  for (uint32_t n = 1 + random.below(24); n > 0; --n) append_piece(random, text);
  return text;
}

std::vector<std::string> tokenizer_samples() {
  std::vector<std::string> samples;
  std::ifstream file(KVINFER_TEST_DATA "/goldens/tokenizer_text.txt");
  for (std::string line; std::getline(file, line);) samples.push_back(line);
  const size_t num_lines = samples.size();
  for (size_t i = 0; i < num_lines; i += 10) {
    std::string block = samples[i];
    for (size_t j = i + 1; j < std::min(i + 10, num_lines); ++j) block += "\n" + samples[j];
    samples.push_back(block);
  }
  for (uint64_t i = 0; i < 10'000; ++i) samples.push_back(random_text(i));
  return samples;
}

}  // namespace kvi
