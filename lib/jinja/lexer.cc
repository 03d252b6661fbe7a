#include "jinja/lexer.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "jinja/strings.h"

namespace kvi::jinja {

void fail_syntax(int line, const std::string& message) {
  throw Error(Status::CORRUPT, concat("chat template, line ", line, ": ", message));
}

void fail_unsupported_syntax(int line, const std::string& what) {
  throw Error(Status::UNSUPPORTED,
              concat("chat template, line ", line, ": ", what, " is not supported"));
}

namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string with_plain_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)), text_(source_) {}

  std::vector<Token> run() {
    while (pos_ < text_.size()) lex_text();
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view what, size_t pos) const { return text_.substr(pos).starts_with(what); }
  bool at(std::string_view what) const { return at(what, pos_); }

  void add(Kind kind, std::string_view text) {
    tokens_.push_back({kind, line_, std::string(text)});
  }

  void advance_to(size_t pos) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(pos_),
                                         text_.begin() + static_cast<ptrdiff_t>(pos), '\n'));
    line_starting_ = pos > pos_ && text_[pos - 1] == '\n';
    pos_ = pos;
  }

  size_t after_spaces(size_t pos) const {
    return pos + strip(text_.substr(pos), Sides::left, {}).begin;
  }

  // Text up to a tag that begins at `end` with `sign` behind its first two characters.
  void add_text(size_t end, char sign, bool before_print) {
    std::string_view text = text_.substr(pos_, end - pos_);
    if (sign == '-') {
      text = text.substr(0, strip(text, Sides::right, {}).end);
    } else if (sign != '+' && !before_print) {
      size_t line_begin = text.rfind('\n') + 1;  // 0 where there is none
      bool only_spaces = strip(text.substr(line_begin), Sides::left, {}).begin ==
                         text.size() - line_begin;
      if ((line_begin > 0 || line_starting_) && only_spaces) text = text.substr(0, line_begin);
    }
    if (!text.empty()) add(Kind::text, text);
  }

  char sign_at(size_t pos) const {
    return pos < text_.size() && (text_[pos] == '-' || text_[pos] == '+') ? text_[pos] : ' ';
  }

  // The end of "{% name %}" with its whitespace control, from the "{%" at pos; npos if it is another.
  size_t match_bare_tag(size_t pos, std::string_view name, bool trims_newline) const {
    pos += sign_at(pos + 2) == ' ' ? 2 : 3;
    pos = after_spaces(pos);
    if (!at(name, pos)) return std::string_view::npos;
    return match_tag_end(after_spaces(pos + name.size()), "%}", trims_newline);
  }

  // The end of the closing mark at pos, with what it strips; npos where there is none.
  size_t match_tag_end(size_t pos, std::string_view mark, bool trims_newline) const {
    char sign = sign_at(pos);
    bool may_keep = sign == '+' && trims_newline;  // "+%}" exists where newlines are trimmed
    if (sign == '-' || may_keep) {
      if (!at(mark, pos + 1)) return std::string_view::npos;
      return sign == '-' ? after_spaces(pos + 1 + mark.size()) : pos + 1 + mark.size();
    }
    if (!at(mark, pos)) return std::string_view::npos;
    pos += mark.size();
    return trims_newline && at("\n", pos) ? pos + 1 : pos;
  }

  void lex_text() {
    size_t begin = pos_;
    while (true) {
      begin = text_.find('{', begin);
      if (begin == std::string_view::npos || begin + 1 >= text_.size()) {
        add(Kind::text, text_.substr(pos_));
        advance_to(text_.size());
        return;
      }
      if (std::string_view("{%#").find(text_[begin + 1]) != std::string_view::npos) break;
      ++begin;
    }
    char kind = text_[begin + 1];
    char sign = sign_at(begin + 2);
    add_text(begin, sign, kind == '{');
    if (kind == '%') {
      size_t raw_end = match_bare_tag(begin, "raw", false);
      if (raw_end != std::string_view::npos) {
        advance_to(raw_end);
        lex_raw();
        return;
      }
    }
    advance_to(begin);
    int tag_line = line_;
    size_t inside = begin + (sign == ' ' ? 2 : 3);
    if (kind == '#') {
      lex_comment(inside, tag_line);
      return;
    }
    add(kind == '{' ? Kind::print_begin : Kind::tag_begin, "");
    advance_to(inside);
    lex_tag(kind == '{' ? "}}" : "%}", tag_line);
  }

  void lex_comment(size_t pos, int tag_line) {
    for (; pos < text_.size(); ++pos) {
      size_t end = match_tag_end(pos, "#}", true);
      if (end == std::string_view::npos) continue;
      advance_to(end);
      return;
    }
    fail_syntax(tag_line, "a comment has no end '#}'");
  }

  void lex_raw() {
    for (size_t pos = pos_; (pos = text_.find("{%", pos)) != std::string_view::npos; ++pos) {
      size_t end = match_bare_tag(pos, "endraw", true);
      if (end == std::string_view::npos) continue;
      add_text(pos, sign_at(pos + 2), false);
      advance_to(end);
      return;
    }
    fail_syntax(line_, "a raw block has no end '{% endraw %}'");
  }

  void lex_tag(std::string_view mark, int tag_line) {
    std::string brackets;  // the closing ones that are due
    while (pos_ < text_.size()) {
      if (brackets.empty()) {
        size_t end = match_tag_end(pos_, mark, mark == "%}");
        if (end != std::string_view::npos) {
          add(mark == "%}" ? Kind::tag_end : Kind::print_end, "");
          advance_to(end);
          return;
        }
      }
      size_t next = after_spaces(pos_);
      if (next > pos_) {
        advance_to(next);
      } else if (is_digit(text_[pos_])) {
        lex_number();
      } else if (is_word(text_[pos_])) {
        size_t end = pos_;
        while (end < text_.size() && is_word(text_[end])) ++end;
        add(Kind::name, text_.substr(pos_, end - pos_));
        advance_to(end);
      } else if (text_[pos_] == '\'' || text_[pos_] == '"') {
        lex_string();
      } else {
        lex_symbol(brackets);
      }
    }
    fail_syntax(tag_line, concat("a tag has no end ", quoted(mark)));
  }

  // digits with single '_' between them
  size_t after_digits(size_t pos, std::string_view digits) const {
    auto is_one = [&](size_t i) {
      return i < text_.size() && digits.find(text_[i]) != std::string_view::npos;
    };
    while (is_one(pos) || (pos < text_.size() && text_[pos] == '_' && is_one(pos + 1))) ++pos;
    return pos;
  }

  void lex_number() {
    constexpr std::string_view kDecimal = "0123456789";
    size_t whole = after_digits(pos_, kDecimal);
    size_t end = whole;
    bool after_dot = pos_ > 0 && text_[pos_ - 1] == '.';
    if (!after_dot && end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      end = after_digits(end + 1, kDecimal);
    }
    if (!after_dot && end < text_.size() && (text_[end] | 0x20) == 'e') {
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent]))
        end = after_digits(exponent, kDecimal);
    }
    Kind kind = end > whole ? Kind::real : Kind::integer;
    if (kind == Kind::integer && text_[pos_] == '0') end = after_integer_with_zero();
    std::string digits(text_.substr(pos_, end - pos_));
    std::erase(digits, '_');
    add(kind, digits);
    advance_to(end);
  }

  // 0x1f, 0o17, 0b11 or zeros
  size_t after_integer_with_zero() const {
    char letter = pos_ + 1 < text_.size() ? static_cast<char>(text_[pos_ + 1] | 0x20) : ' ';
    std::string_view digits = letter == 'x'   ? "0123456789abcdefABCDEF"
                              : letter == 'o' ? "01234567"
                              : letter == 'b' ? "01"
                                              : "";
    size_t end = after_digits(pos_ + 2, digits);
    return !digits.empty() && end > pos_ + 2 ? end : after_digits(pos_, "0");
  }

  void lex_string() {
    char quote = text_[pos_];
    size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail_syntax(line_, "a string has no end");
    add(Kind::string, unescape(text_.substr(pos_ + 1, end - pos_ - 1)));
    advance_to(end + 1);
  }

  // Python's escapes; an unknown one stands for itself.
  std::string unescape(std::string_view body) const {
    std::string out;
    for (size_t i = 0; i < body.size(); ++i) {
      if (body[i] != '\\') {
        out += body[i];
        continue;
      }
      char c = body[++i];  // lex_string never ends on a backslash
      constexpr std::string_view kNames = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
      if (size_t known = kNames.find(c); known != std::string_view::npos) {
        out += kMeanings[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code_point(out, body.substr(std::min(i + 1, body.size()), length), length);
        i += length;
      } else if (c >= '0' && c <= '7') {
        char32_t value = 0;
        size_t octal_end = std::min(i + 3, body.size());
        for (; i < octal_end && body[i] >= '0' && body[i] <= '7'; ++i) {
          value = value * 8 + static_cast<char32_t>(body[i] - '0');
        }
        --i;
        append_utf8(out, value);
      } else if (c == 'N') {
        fail_unsupported_syntax(line_, "a character by its name, \\N{...},");
      } else if (c != '\n') {  // backslash and newline vanish
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void append_code_point(std::string& out, std::string_view digits, size_t length) const {
    char32_t value = 0;
    for (char c : digits) {
      char lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && (lower < 'a' || lower > 'f'))
        fail_syntax(line_, "an escape lacks hex digits");
      value = value * 16 + static_cast<char32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    if (digits.size() < length) fail_syntax(line_, "an escape lacks hex digits");
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
      fail_syntax(line_, "an escape names no character");
    }
    append_utf8(out, value);
  }

  void lex_symbol(std::string& brackets) {
    static constexpr std::string_view kSymbols[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (std::string_view symbol : kSymbols) {
      if (!at(symbol)) continue;
      if (symbol == "(") brackets += ')';
      if (symbol == "[") brackets += ']';
      if (symbol == "{") brackets += '}';
      if (symbol == ")" || symbol == "]" || symbol == "}") {
        if (brackets.empty() || brackets.back() != symbol[0]) {
          fail_syntax(line_, concat(quoted(symbol), " closes nothing"));
        }
        brackets.pop_back();
      }
      add(Kind::symbol, symbol);
      advance_to(pos_ + symbol.size());
      return;
    }
    size_t size = static_cast<size_t>(decode_utf8(text_, pos_).size);
    if (size > 1)
      fail_unsupported_syntax(
          line_, concat("the character ", quoted(text_.substr(pos_, size)), " in a tag"));
    fail_syntax(line_, concat("unexpected character ", quoted(text_.substr(pos_, 1))));
  }

  const std::string source_;
  const std::string_view text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was lexed before ended in a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) { return Lexer(source).run(); }

}  // namespace kvi::jinja
