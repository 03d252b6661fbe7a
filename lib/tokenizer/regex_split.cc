#include "tokenizer/regex_split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr uint32_t kMaxHeapKib = 64 << 10;   // of backtracking state
constexpr uint32_t kMaxSteps = 100'000'000;  // of one match

struct Deleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, Deleter>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter>;

std::string error_text(int code) {
  PCRE2_UCHAR text[128];
  const int size = pcre2_get_error_message(code, text, sizeof text);
  return size > 0 ? std::string(reinterpret_cast<char*>(text), size) : concat("error ", code);
}

Code compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                          nullptr));
  if (!code) {
    throw Error(Status::UNSUPPORTED, concat("pre-tokenizer regex ", quoted(pattern, 400),
                                            " at byte ", offset, ": ", error_text(error)));
  }
  return code;
}

class RegexPretokenizer final : public Pretokenizer {
 public:
  explicit RegexPretokenizer(std::span<const std::string> patterns) {
    for (const std::string& pattern : patterns) codes_.push_back(compile(pattern));
  }

  void split(std::string_view text, std::vector<uint32_t>& word_ends) const override {
    MatchContext context(pcre2_match_context_create(nullptr));
    if (!context) throw Error(Status::OUT_OF_MEMORY, "no memory for a regex match");
    pcre2_set_match_limit(context.get(), kMaxSteps);
    pcre2_set_heap_limit(context.get(), kMaxHeapKib);
    std::vector<uint32_t> ends = {static_cast<uint32_t>(text.size())};
    std::vector<uint32_t> finer;
    for (const Code& code : codes_) {
      MatchData data(pcre2_match_data_create_from_pattern(code.get(), nullptr));
      if (!data) throw Error(Status::OUT_OF_MEMORY, "no memory for a regex match");
      finer.clear();
      uint32_t begin = 0;
      for (uint32_t end : ends) {
        split_stretch(code.get(), data.get(), context.get(), text.substr(begin, end - begin), begin,
                      finer);
        begin = end;
      }
      ends.swap(finer);
    }
    if (!text.empty()) word_ends.insert(word_ends.end(), ends.begin(), ends.end());
  }

 private:
  static void split_stretch(const pcre2_code* code, pcre2_match_data* data,
                            pcre2_match_context* context, std::string_view text, uint32_t base,
                            std::vector<uint32_t>& ends) {
    size_t word = 0;  // where the stretch that no match has covered begins
    for (size_t pos = 0; pos < text.size();) {
      const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                    pos, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data, context);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        throw Error(Status::UNSUPPORTED, concat("the pre-tokenizer's regex failed at byte ",
                                                base + pos, " of the text: ", error_text(found)));
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data);
      if (range[0] > word) ends.push_back(base + static_cast<uint32_t>(range[0]));
      ends.push_back(base + static_cast<uint32_t>(range[1]));
      word = pos = range[1];
    }
    if (word < text.size()) ends.push_back(base + static_cast<uint32_t>(text.size()));
  }

  std::vector<Code> codes_;
};

}  // namespace

std::unique_ptr<const Pretokenizer> create_regex_pretokenizer(
    std::span<const std::string> patterns) {
  return std::make_unique<RegexPretokenizer>(patterns);
}

}  // namespace kvi
