#include "tokenizer/pretokenizer.h"

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/regex_split.h"
#include "tokenizer/unicode_classes.h"

namespace kvi {
namespace {

bool is_newline(char32_t c) { return c == '\r' || c == '\n'; }

// The end of the run of characters of class cls that starts at pos.
size_t run_end(std::string_view text, size_t pos, CharClass cls) {
  for (ClassedChar c = char_at(text, pos); c.cls == cls; c = char_at(text, pos)) pos += c.size;
  return pos;
}

// \s+(?!\S)|\s+ at a whitespace character: the run up to the end of the text or, before other text,
// without its last character, which belongs to the next word (unless it is the only one).
size_t whitespace_end(std::string_view text, size_t pos) {
  size_t end = pos, last = pos;
  for (ClassedChar c = char_at(text, end); c.cls == CharClass::space; c = char_at(text, end)) {
    last = end;
    end += c.size;
  }
  return end == text.size() || last == pos ? end : last;
}

// 's 't 're 've 'm 'll 'd behind the apostrophe at pos: their length with it, or 0. Folded, they
// match in upper case too, and the long s (U+017F) is an s.
enum class Case { exact, folded };
size_t contraction_size(std::string_view text, size_t pos, Case rule) {
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return rule == Case::folded && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  };
  const char first = letter(pos + 1), second = letter(pos + 2);
  switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return second == 'e' ? 3 : 0;
    case 'l': return second == 'l' ? 3 : 0;
    default: return rule == Case::folded && text.substr(pos + 1).starts_with("\u017f") ? 3 : 0;
  }
}

struct Gpt2Scanner {
  static size_t word_end(std::string_view text, size_t pos) {
    ClassedChar c = char_at(text, pos);
    if (c.value == '\'') {
      if (size_t size = contraction_size(text, pos, Case::exact)) return pos + size;
    }
    if (c.value == ' ') {
      const ClassedChar next = char_at(text, pos + 1);
      if (next.cls != CharClass::space && next.cls != CharClass::none) {
        return run_end(text, pos + 1, next.cls);
      }
    }
    return c.cls == CharClass::space ? whitespace_end(text, pos) : run_end(text, pos, c.cls);
  }
};

template <int kMaxDigits>
struct Llama3Scanner {
  static size_t word_end(std::string_view text, size_t pos) {
    const ClassedChar c = char_at(text, pos);
    if (c.value == '\'') {
      if (size_t size = contraction_size(text, pos, Case::folded)) return pos + size;
    }
    if (c.cls == CharClass::letter) return run_end(text, pos, CharClass::letter);
    if (c.cls == CharClass::number) return digits_end(text, pos);
    const size_t after = pos + c.size;
    const ClassedChar next = char_at(text, after);
    if (next.cls == CharClass::letter && !is_newline(c.value)) {
      return run_end(text, after, CharClass::letter);
    }
    if (c.cls == CharClass::other || (c.value == ' ' && next.cls == CharClass::other)) {
      size_t end = run_end(text, c.cls == CharClass::other ? pos : after, CharClass::other);
      while (end < text.size() && is_newline(text[end])) ++end;
      return end;
    }
    if (size_t end = last_newline_end(text, pos)) return end;
    return whitespace_end(text, pos);
  }

 private:
  static size_t digits_end(std::string_view text, size_t pos) {
    for (int n = 0; n < kMaxDigits; ++n) {
      const ClassedChar c = char_at(text, pos);
      if (c.cls != CharClass::number) break;
      pos += c.size;
    }
    return pos;
  }

  // \s*[\r\n]+: behind the last newline of the whitespace at pos, or 0 where it holds none.
  static size_t last_newline_end(std::string_view text, size_t pos) {
    size_t end = 0;
    for (ClassedChar c = char_at(text, pos); c.cls == CharClass::space; c = char_at(text, pos)) {
      pos += c.size;
      if (is_newline(c.value)) end = pos;
    }
    return end;
  }
};

template <typename Scanner>
void scan(std::string_view text, uint32_t base, std::vector<uint32_t>& word_ends) {
  for (size_t pos = 0; pos < text.size();) {
    pos = Scanner::word_end(text, pos);
    word_ends.push_back(base + static_cast<uint32_t>(pos));
  }
}

template <typename Scanner>
class ScanningPretokenizer final : public Pretokenizer {
 public:
  void split(std::string_view text, std::vector<uint32_t>& word_ends) const override {
    scan<Scanner>(text, 0, word_ends);
  }
};

class SmollmPretokenizer final : public Pretokenizer {
 public:
  void split(std::string_view text, std::vector<uint32_t>& word_ends) const override {
    size_t begin = 0;
    for (size_t pos = 0; pos < text.size();) {
      const ClassedChar c = char_at(text, pos);
      const size_t end = pos + c.size;
      if (c.cls == CharClass::number) {
        scan<Gpt2Scanner>(text.substr(begin, pos - begin), static_cast<uint32_t>(begin), word_ends);
        word_ends.push_back(static_cast<uint32_t>(end));
        begin = end;
      }
      pos = end;
    }
    scan<Gpt2Scanner>(text.substr(begin), static_cast<uint32_t>(begin), word_ends);
  }
};

}  // namespace

std::unique_ptr<const Pretokenizer> Pretokenizer::create(const TokenizerSpec& spec) {
  const std::string& name = spec.pretokenizer;
  if (name == "gpt2") return std::make_unique<ScanningPretokenizer<Gpt2Scanner>>();
  if (name == "llama3") return std::make_unique<ScanningPretokenizer<Llama3Scanner<3>>>();
  if (name == "qwen2") return std::make_unique<ScanningPretokenizer<Llama3Scanner<1>>>();
  if (name == "smollm") return std::make_unique<SmollmPretokenizer>();
  if (name.empty() && !spec.split_patterns.empty()) {
    return create_regex_pretokenizer(spec.split_patterns);
  }
  throw Error(Status::UNSUPPORTED, concat("pretokenizer ", quoted(name),
                                          " is not known; known are gpt2, llama3, qwen2, smollm"));
}

std::string_view find_pretokenizer(std::span<const std::string> patterns) {
  if (patterns.size() == 1) {
    if (patterns[0] == kGpt2Pattern) return "gpt2";
    if (patterns[0] == kLlama3Pattern) return "llama3";
    if (patterns[0] == kQwen2Pattern) return "qwen2";
  }
  if (patterns.size() == 2 && patterns[0] == kDigitPattern && patterns[1] == kGpt2Pattern) {
    return "smollm";
  }
  return "";
}

// Other names whose published regexes are one of the four.
void set_gguf_pretokenizer(std::string_view name, TokenizerSpec& spec) {
  struct Alias {
    std::string_view gguf_name, pretokenizer;
  };
  static constexpr Alias kAliases[] = {
      {"gpt-2", "gpt2"},      {"gpt2", "gpt2"},        {"default", "gpt2"},
      {"phi-2", "gpt2"},      {"llama-bpe", "llama3"}, {"llama3", "llama3"},
      {"llama-v3", "llama3"}, {"qwen2", "qwen2"},      {"deepseek-r1-qwen", "qwen2"},
      {"smollm", "smollm"},
  };
  for (const Alias& alias : kAliases) {
    if (alias.gguf_name != name) continue;
    spec.pretokenizer = alias.pretokenizer;
    spec.ignore_merges = alias.pretokenizer == "llama3";
    spec.normalize_nfc = name == "qwen2";
    return;
  }
  throw Error(Status::UNSUPPORTED,
              concat("tokenizer.ggml.pre is ", quoted(name),
                     ", a pretokenizer that is not known; known are gpt-2, llama-bpe, qwen2, "
                     "smollm and default"));
}

}  // namespace kvi
