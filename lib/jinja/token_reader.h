// Walks over the tokens of a chat template, one ahead of the parsers that share it.
//
// Knows no grammar. Counts how deep the parsers recurse.
//
// Not thread-safe: one parse, one reader.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "jinja/lexer.h"
#include "jinja/meter.h"

namespace kvi::jinja {

class TokenReader {
 public:
  TokenReader(std::vector<Token> tokens, const TemplateLimits& limits)
      : tokens_(std::move(tokens)), meter_(limits, limits.max_depth) {}

  const Token& peek(size_t ahead = 0) const;
  int line() const { return peek().line; }
  Meter& meter() { return meter_; }  // for the depth

  const Token& next();  // stays at the last token
  bool skip_symbol(std::string_view symbol);
  bool skip_name(std::string_view name);

  // Throw CORRUPT where something else comes next.
  void expect(Token::Kind kind);
  void expect_symbol(std::string_view symbol);
  std::string expect_name();
  [[noreturn]] void fail_expected(std::string_view what) const;

 private:
  const std::vector<Token> tokens_;
  size_t pos_ = 0;
  Meter meter_;
};

}  // namespace kvi::jinja
