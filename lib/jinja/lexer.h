// Cuts the source of a chat template into tokens, with Jinja's control of whitespace as Hugging Face
// sets it: trim_blocks and lstrip_blocks on, one newline at the end of the source dropped.
//
// Knows no grammar beyond balanced brackets.
//
// Stateless, so thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvi::jinja {

struct Token {
  enum class Kind {
    text,
    print_begin,
    print_end,
    tag_begin,
    tag_end,
    name,
    string,
    integer,
    real,
    symbol,
    end
  };

  Kind kind;
  int line;
  std::string text;  // unescaped for strings, digits without '_' for numbers

  bool is_symbol(std::string_view symbol) const { return kind == Kind::symbol && text == symbol; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

// Throws CORRUPT naming the line. The last token is of kind end.
std::vector<Token> tokenize_template(std::string_view source);

[[noreturn]] void fail_syntax(int line, const std::string& message);           // CORRUPT
[[noreturn]] void fail_unsupported_syntax(int line, const std::string& what);  // UNSUPPORTED

}  // namespace kvi::jinja
