#include "jinja/token_reader.h"

#include <algorithm>

#include "base/text.h"

namespace kvi::jinja {
namespace {

using Kind = Token::Kind;

const char* describe(Kind kind) {
  switch (kind) {
    case Kind::text: return "text";
    case Kind::print_begin: return "'{{'";
    case Kind::print_end: return "'}}'";
    case Kind::tag_begin: return "'{%'";
    case Kind::tag_end: return "'%}'";
    case Kind::string: return "a string";
    case Kind::end: return "the end of the template";
    default: return "a token";
  }
}

}  // namespace

const Token& TokenReader::peek(size_t ahead) const {
  return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
}

const Token& TokenReader::next() {
  const Token& token = peek();
  if (token.kind != Kind::end) ++pos_;
  meter_.set_line(peek().line);
  return token;
}

void TokenReader::fail_expected(std::string_view what) const {
  const Token& token = peek();
  bool has_text = token.kind == Kind::name || token.kind == Kind::symbol ||
                  token.kind == Kind::integer || token.kind == Kind::real;
  fail_syntax(token.line,
              concat("expected ", what, ", found ",
                     has_text ? quoted(token.text) : std::string(describe(token.kind))));
}

bool TokenReader::skip_symbol(std::string_view symbol) {
  if (!peek().is_symbol(symbol)) return false;
  next();
  return true;
}

bool TokenReader::skip_name(std::string_view name) {
  if (!peek().is_name(name)) return false;
  next();
  return true;
}

void TokenReader::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) fail_expected(quoted(symbol));
}

void TokenReader::expect(Kind kind) {
  if (peek().kind != kind) fail_expected(describe(kind));
  next();
}

std::string TokenReader::expect_name() {
  if (peek().kind != Kind::name) fail_expected("a name");
  return next().text;
}

}  // namespace kvi::jinja
