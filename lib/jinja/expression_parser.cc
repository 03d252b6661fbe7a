#include "jinja/expression_parser.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "jinja/builtins.h"

namespace kvi::jinja {
namespace {

using Kind = Token::Kind;

template <typename Node>
ExpressionPtr make(int line, Node node) {
  return std::make_unique<const Expression>(Expression{line, std::move(node)});
}

ExpressionPtr make_string(int line, std::string_view text) {
  auto object = std::make_shared<const StringObject>(
      StringObject{MarkedText(text, Origin::from_template), Charge()});
  return make(line, Literal{std::move(object)});
}

Value parse_integer(const Token& token) {
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) >= 'a') {
    char letter = static_cast<char>(digits[1] | 0x20);
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  int64_t number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc()) {
    fail_unsupported_syntax(token.line,
                            concat("the integer ", quoted(token.text), ", beyond 64 bits,"));
  }
  return number;
}

}  // namespace

// A tuple may end in a comma, before `end` for one.
ExpressionPtr ExpressionParser::parse_items(bool with_conditional, bool in_parentheses,
                                            std::string_view end) {
  int start = in_.line();
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) in_.expect_symbol(",");
    if (in_.peek().kind == Kind::print_end || in_.peek().kind == Kind::tag_end ||
        in_.peek().is_symbol(")") || (!end.empty() && in_.peek().is_name(end))) {
      break;
    }
    items.push_back(with_conditional ? parse_expression() : parse_or());
    if (!in_.peek().is_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !in_parentheses) in_.fail_expected("an expression");
  return make(start, SequenceDisplay{Sequence::Form::tuple, std::move(items)});
}

ExpressionPtr ExpressionParser::parse_expression() {
  DepthGuard guard(in_.meter());
  int start = in_.line();
  ExpressionPtr result = parse_or();
  for (int depth = 0; in_.skip_name("if"); ++depth) {
    if (depth > 0)
      fail_unsupported_syntax(start, "a conditional on a conditional without parentheses");
    ExpressionPtr test = parse_or();
    ExpressionPtr otherwise = in_.skip_name("else") ? parse_expression() : nullptr;
    result = make(start, Conditional{std::move(test), std::move(result), std::move(otherwise)});
  }
  return result;
}

ExpressionPtr ExpressionParser::parse_logical(std::string_view name, bool stop_at,
                                              Operand parse_operand) {
  int start = in_.line();
  ExpressionPtr first = (this->*parse_operand)();
  if (!in_.peek().is_name(name)) return first;
  LogicalChain chain{stop_at, {}};
  chain.operands.push_back(std::move(first));
  while (in_.skip_name(name)) chain.operands.push_back((this->*parse_operand)());
  return make(start, std::move(chain));
}

ExpressionPtr ExpressionParser::parse_or() {
  return parse_logical("or", true, &ExpressionParser::parse_and);
}
ExpressionPtr ExpressionParser::parse_and() {
  return parse_logical("and", false, &ExpressionParser::parse_not);
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!in_.peek().is_name("not")) return parse_compare();
  DepthGuard guard(in_.meter());
  int start = in_.line();
  in_.next();
  return make(start, Unary{Unary::Op::logical_not, parse_not()});
}

ExpressionPtr ExpressionParser::parse_compare() {
  static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::equal},  {"!=", CompareOp::not_equal},
      {"<", CompareOp::less},    {"<=", CompareOp::less_equal},
      {">", CompareOp::greater}, {">=", CompareOp::greater_equal}};
  int start = in_.line();
  CompareChain chain{parse_sum(), {}};
  while (true) {
    if (in_.skip_name("in")) {
      chain.rest.emplace_back(CompareOp::in, parse_sum());
      continue;
    }
    if (in_.peek().is_name("not") && in_.peek(1).is_name("in")) {
      in_.next();
      in_.next();
      chain.rest.emplace_back(CompareOp::not_in, parse_sum());
      continue;
    }
    auto op = std::find_if(
        std::begin(kOperators), std::end(kOperators),
        [&](const auto& candidate) { return in_.peek().is_symbol(candidate.first); });
    if (op == std::end(kOperators)) break;
    in_.next();
    chain.rest.emplace_back(op->second, parse_sum());
  }
  if (chain.rest.empty()) return std::move(chain.first);
  return make(start, std::move(chain));
}

ExpressionPtr ExpressionParser::parse_binary(std::initializer_list<BinarySymbol> operators,
                                             Operand parse_operand) {
  int start = in_.line();
  BinaryChain chain{(this->*parse_operand)(), {}};
  while (true) {
    auto op = std::find_if(operators.begin(), operators.end(), [&](const BinarySymbol& candidate) {
      return in_.peek().is_symbol(candidate.symbol);
    });
    if (op == operators.end()) break;
    in_.next();
    chain.rest.emplace_back(op->op, (this->*parse_operand)());
  }
  if (chain.rest.empty()) return std::move(chain.first);
  return make(start, std::move(chain));
}

ExpressionPtr ExpressionParser::parse_sum() {
  return parse_binary({{"+", BinaryOp::add}, {"-", BinaryOp::subtract}},
                      &ExpressionParser::parse_concatenation);
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  return parse_binary({{"~", BinaryOp::concatenate}}, &ExpressionParser::parse_product);
}

ExpressionPtr ExpressionParser::parse_product() {
  return parse_binary({{"*", BinaryOp::multiply},
                       {"/", BinaryOp::divide},
                       {"//", BinaryOp::floor_divide},
                       {"%", BinaryOp::modulo}},
                      &ExpressionParser::parse_power);
}

ExpressionPtr ExpressionParser::parse_power() {
  return parse_binary({{"**", BinaryOp::power}}, &ExpressionParser::parse_filtered);
}

ExpressionPtr ExpressionParser::parse_filtered() { return parse_unary(true); }

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  int start = in_.line();
  ExpressionPtr base;
  if (in_.peek().is_symbol("-") || in_.peek().is_symbol("+")) {
    DepthGuard guard(in_.meter());
    Unary::Op op = in_.next().text == "-" ? Unary::Op::negate : Unary::Op::plus;
    base = make(start, Unary{op, parse_unary(false)});
  } else {
    base = parse_primary();
  }
  std::vector<Suffix> suffixes;
  while (parse_postfix(suffixes)) {
  }
  while (with_filters && parse_filter_or_test(suffixes)) {
  }
  if (suffixes.empty()) return base;
  return make(start, PostfixChain{std::move(base), std::move(suffixes)});
}

ExpressionPtr ExpressionParser::parse_primary() {
  int start = in_.line();
  const Token& token = in_.peek();
  switch (token.kind) {
    case Kind::name: return parse_name();
    case Kind::string: {
      std::string text;
      while (in_.peek().kind == Kind::string) text += in_.next().text;
      return make_string(start, text);
    }
    case Kind::integer: return make(start, Literal{parse_integer(in_.next())});
    case Kind::real: {
      double number = 0;
      std::string_view digits = in_.next().text;
      auto error = std::from_chars(digits.data(), digits.data() + digits.size(), number).ec;
      if (error != std::errc())
        fail_unsupported_syntax(start, concat("the number ", quoted(digits)));
      return make(start, Literal{number});
    }
    default: break;
  }
  if (in_.skip_symbol("(")) {
    ExpressionPtr inner = parse_items(true, true, "");
    in_.expect_symbol(")");
    return inner;
  }
  if (in_.skip_symbol("[")) return parse_list(start);
  if (in_.skip_symbol("{")) return parse_dict(start);
  in_.fail_expected("an expression");
}

ExpressionPtr ExpressionParser::parse_name() {
  int start = in_.line();
  std::string name = in_.next().text;
  if (name == "true" || name == "True") return make(start, Literal{true});
  if (name == "false" || name == "False") return make(start, Literal{false});
  if (name == "none" || name == "None") return make(start, Literal{None{}});
  return make(start, Name{std::move(name)});
}

ExpressionPtr ExpressionParser::parse_list(int start) {
  std::vector<ExpressionPtr> items;
  while (!in_.peek().is_symbol("]")) {
    if (!items.empty()) in_.expect_symbol(",");
    if (in_.peek().is_symbol("]")) break;
    items.push_back(parse_expression());
  }
  in_.expect_symbol("]");
  return make(start, SequenceDisplay{Sequence::Form::list, std::move(items)});
}

ExpressionPtr ExpressionParser::parse_dict(int start) {
  DictDisplay dict;
  while (!in_.peek().is_symbol("}")) {
    if (!dict.entries.empty()) in_.expect_symbol(",");
    if (in_.peek().is_symbol("}")) break;
    ExpressionPtr key = parse_expression();
    in_.expect_symbol(":");
    dict.entries.emplace_back(std::move(key), parse_expression());
  }
  in_.expect_symbol("}");
  return make(start, std::move(dict));
}

bool ExpressionParser::parse_postfix(std::vector<Suffix>& suffixes) {
  int start = in_.line();
  if (in_.skip_symbol(".")) {
    if (in_.peek().kind == Kind::integer) {
      suffixes.push_back({start, ElementSuffix{make(start, Literal{parse_integer(in_.next())})}});
    } else {
      suffixes.push_back({start, AttributeSuffix{in_.expect_name()}});
    }
    return true;
  }
  if (in_.skip_symbol("[")) {
    suffixes.push_back(parse_subscript(start));
    return true;
  }
  if (in_.peek().is_symbol("(")) {
    suffixes.push_back({start, CallSuffix{parse_arguments()}});
    return true;
  }
  return false;
}

bool ExpressionParser::parse_filter_or_test(std::vector<Suffix>& suffixes) {
  int start = in_.line();
  if (in_.skip_symbol("|")) {
    suffixes.push_back(parse_filter());
  } else if (in_.skip_name("is")) {
    suffixes.push_back(parse_test(start));
  } else if (in_.peek().is_symbol("(")) {
    suffixes.push_back({start, CallSuffix{parse_arguments()}});
  } else {
    return false;
  }
  return true;
}

Suffix ExpressionParser::parse_subscript(int start) {
  auto ends_here = [&] {
    return in_.peek().is_symbol("]") || in_.peek().is_symbol(",") || in_.peek().is_symbol(":");
  };
  ExpressionPtr begin, end, step;
  if (!in_.peek().is_symbol(":")) {
    begin = parse_expression();
    if (in_.skip_symbol("]")) return {start, ElementSuffix{std::move(begin)}};
  }
  if (in_.peek().is_symbol(",")) fail_unsupported_syntax(start, "a subscript with several parts");
  in_.expect_symbol(":");
  if (!ends_here()) end = parse_expression();
  if (in_.skip_symbol(":") && !ends_here()) step = parse_expression();
  in_.expect_symbol("]");
  return {start, SliceSuffix{std::move(begin), std::move(end), std::move(step)}};
}

CallArguments ExpressionParser::parse_arguments() {
  CallArguments arguments;
  in_.expect_symbol("(");
  for (bool first = true; !in_.peek().is_symbol(")"); first = false) {
    if (!first) {
      in_.expect_symbol(",");
      if (in_.peek().is_symbol(")")) break;
    }
    if (in_.peek().is_symbol("*") || in_.peek().is_symbol("**")) {
      fail_unsupported_syntax(in_.line(), "a call with * or ** arguments");
    }
    if (in_.peek().kind == Kind::name && in_.peek(1).is_symbol("=")) {
      std::string name = in_.next().text;
      in_.next();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!arguments.named.empty())
        fail_syntax(in_.line(), "an argument without name follows one with");
      arguments.positional.push_back(parse_expression());
    }
  }
  in_.expect_symbol(")");
  return arguments;
}

Native ExpressionParser::find_offered(int start, const Method* method, const char* kind,
                                      const std::string& name) const {
  if (!method && num_ifs_ == 0)
    fail_unsupported_syntax(start, concat("the ", kind, " ", quoted(name)));
  return method ? method->call : nullptr;
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = in_.expect_name();
  while (in_.skip_symbol(".")) name.append(".").append(in_.expect_name());
  return name;
}

Suffix ExpressionParser::parse_filter() {
  int start = in_.line();
  std::string name = parse_dotted_name();
  FilterSuffix suffix{name, find_offered(start, find_filter(name), "filter", name), {}};
  if (in_.peek().is_symbol("(")) suffix.arguments = parse_arguments();
  return {start, std::move(suffix)};
}

Suffix ExpressionParser::parse_test(int start) {
  bool negated = in_.skip_name("not");
  std::string name = parse_dotted_name();
  TestSuffix suffix{name, find_offered(start, find_test(name), "test", name), negated, {}};
  const Token& token = in_.peek();
  bool begins_value = token.kind == Kind::name || token.kind == Kind::string ||
                      token.kind == Kind::integer || token.kind == Kind::real ||
                      token.is_symbol("[") || token.is_symbol("{");
  bool is_operator = token.is_name("else") || token.is_name("or") || token.is_name("and");
  if (token.is_symbol("(")) {
    suffix.arguments = parse_arguments();
  } else if (begins_value && !is_operator) {
    if (token.is_name("is")) fail_syntax(start, "tests cannot be chained with 'is'");
    suffix.arguments.positional.push_back(parse_test_argument());
  }
  return {start, std::move(suffix)};
}

ExpressionPtr ExpressionParser::parse_test_argument() {
  int start = in_.line();
  ExpressionPtr base = parse_primary();
  std::vector<Suffix> suffixes;
  while (parse_postfix(suffixes)) {
  }
  if (suffixes.empty()) return base;
  return make(start, PostfixChain{std::move(base), std::move(suffixes)});
}

}  // namespace kvi::jinja
