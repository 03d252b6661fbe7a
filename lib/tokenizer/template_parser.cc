#include "tokenizer/template_parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/template_builtins.h"
#include "tokenizer/template_lexer.h"

namespace kvi::jinja {
namespace {

using Kind = Token::Kind;

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

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

// Precedence climbs by one function a level, as in Jinja's grammar.
class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateLimits& limits)
      : tokens_(std::move(tokens)), meter_(limits, limits.max_depth) {}

  Block run() {
    std::string end;
    return parse_block({}, end);
  }

 private:
  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
  }
  int line() const { return peek().line; }

  const Token& next() {
    const Token& token = peek();
    if (token.kind != Kind::end) ++pos_;
    meter_.set_line(peek().line);
    return token;
  }

  [[noreturn]] void fail_expected(std::string_view what) const {
    const Token& token = peek();
    bool has_text = token.kind == Kind::name || token.kind == Kind::symbol ||
                    token.kind == Kind::integer || token.kind == Kind::real;
    fail_syntax(token.line,
                concat("expected ", what, ", found ",
                       has_text ? quoted(token.text) : std::string(describe(token.kind))));
  }

  bool skip_symbol(std::string_view symbol) {
    if (!peek().is_symbol(symbol)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!peek().is_name(name)) return false;
    next();
    return true;
  }
  void expect_symbol(std::string_view symbol) {
    if (!skip_symbol(symbol)) fail_expected(quoted(symbol));
  }
  void expect(Kind kind) {
    if (peek().kind != kind) fail_expected(describe(kind));
    next();
  }
  std::string expect_name() {
    if (peek().kind != Kind::name) fail_expected("a name");
    return next().text;
  }

  template <typename Node>
  static ExpressionPtr make(int line, Node node) {
    return std::make_unique<const Expression>(Expression{line, std::move(node)});
  }

  // Statements.

  // Up to a tag with one of these names, which is consumed up to (not with) its '%}'; or, without
  // names, to the end of the template.
  Block parse_block(std::initializer_list<std::string_view> ends, std::string& end) {
    Block block;
    while (true) {
      int line_here = line();
      switch (peek().kind) {
        case Kind::text: block.push_back({line_here, Text{next().text}}); break;
        case Kind::print_begin:
          next();
          block.push_back({line_here, Print{parse_tuple(true, false, "")}});
          expect(Kind::print_end);
          break;
        case Kind::tag_begin:
          next();
          if (peek().kind == Kind::name &&
              std::find(ends.begin(), ends.end(), peek().text) != ends.end()) {
            end = next().text;
            return block;
          }
          block.push_back(parse_statement());
          expect(Kind::tag_end);
          break;
        default:
          if (peek().kind != Kind::end || ends.size() > 0) {
            fail_expected(ends.size() > 0 ? quoted(*(ends.end() - 1)) : std::string("text"));
          }
          return block;
      }
    }
  }

  // The body of a statement whose head is read: ':' or nothing, '%}', the block, its end.
  Block parse_body(std::initializer_list<std::string_view> ends, std::string& end) {
    skip_symbol(":");
    expect(Kind::tag_end);
    return parse_block(ends, end);
  }
  Block parse_body(std::string_view end_name) {
    std::string end;
    return parse_body({end_name}, end);
  }
  // A body that break and continue cannot leave.
  Block parse_closed_body(std::string_view end_name) {
    int outer_loops = std::exchange(num_loops_, 0);
    Block body = parse_body(end_name);
    num_loops_ = outer_loops;
    return body;
  }

  Statement parse_statement() {
    DepthGuard guard(meter_);
    int start = line();
    std::string name = expect_name();
    if (name == "if") return {start, parse_if()};
    if (name == "for") return {start, parse_for()};
    if (name == "set") return parse_set(start);
    if (name == "macro") return {start, parse_macro()};
    if (name == "call") return {start, parse_call_block(start)};
    if (name == "filter") return {start, parse_filter_block()};
    if (name == "with") return {start, parse_with()};
    if (name == "generation") return {start, With{{}, parse_closed_body("endgeneration")}};
    if (name == "break" || name == "continue") {
      if (num_loops_ == 0) fail_syntax(start, concat("'", name, "' outside of a loop"));
      return name == "break" ? Statement{start, Break{}} : Statement{start, Continue{}};
    }
    if (name.starts_with("end") || name == "else" || name == "elif") {
      fail_syntax(start, concat(quoted(name), " closes nothing"));
    }
    fail_unsupported_syntax(start, concat("the statement ", quoted(name)));
  }

  If parse_if() {
    If node;
    std::string end;
    ++num_ifs_;
    ExpressionPtr test = parse_tuple(false, false, "");
    node.branches.push_back({std::move(test), parse_body({"elif", "else", "endif"}, end)});
    while (end == "elif") {
      test = parse_tuple(false, false, "");
      node.branches.push_back({std::move(test), parse_body({"elif", "else", "endif"}, end)});
    }
    if (end == "else") node.branches.push_back({nullptr, parse_body("endif")});
    --num_ifs_;
    return node;
  }

  For parse_for() {
    For node;
    node.target = parse_targets("in", false);
    if (!skip_name("in")) fail_expected("'in'");
    node.items = parse_tuple(false, false, "recursive");
    if (skip_name("if")) node.filter = parse_expression();
    if (peek().is_name("recursive")) fail_unsupported_syntax(line(), "a recursive loop");
    std::string end;
    ++num_loops_;
    node.body = parse_body({"else", "endfor"}, end);
    --num_loops_;
    if (end == "else") node.otherwise = parse_body("endfor");
    return node;
  }

  Statement parse_set(int start) {
    Target target = parse_targets("", true);
    if (skip_symbol("=")) return {start, Set{std::move(target), parse_tuple(true, false, "")}};
    std::vector<Suffix> filters;
    while (skip_symbol("|")) filters.push_back(parse_filter());
    return {start, SetBlock{std::move(target), std::move(filters), parse_closed_body("endset")}};
  }

  std::vector<std::pair<std::string, ExpressionPtr>> parse_parameters() {
    std::vector<std::pair<std::string, ExpressionPtr>> parameters;
    expect_symbol("(");
    while (!peek().is_symbol(")")) {
      if (!parameters.empty()) expect_symbol(",");
      std::string name = parse_target_name();
      ExpressionPtr fallback;
      if (skip_symbol("=")) {
        fallback = parse_expression();
      } else if (!parameters.empty() && parameters.back().second) {
        fail_syntax(line(), "a parameter without default follows one with");
      }
      parameters.emplace_back(std::move(name), std::move(fallback));
    }
    expect_symbol(")");
    return parameters;
  }

  MacroDefinition parse_macro() {
    Macro macro;
    macro.name = parse_target_name();
    macro.parameters = parse_parameters();
    macro.body = parse_closed_body("endmacro");
    return {std::make_unique<const Macro>(std::move(macro))};
  }

  CallBlock parse_call_block(int start) {
    Macro caller;
    caller.name = "caller";
    if (peek().is_symbol("(")) caller.parameters = parse_parameters();
    ExpressionPtr call = parse_expression();
    const auto* chain = std::get_if<PostfixChain>(&call->node);
    if (!chain || !std::holds_alternative<CallSuffix>(chain->suffixes.back().node)) {
      fail_syntax(start, "'call' needs a call");
    }
    caller.body = parse_closed_body("endcall");
    return {std::move(call), std::make_unique<const Macro>(std::move(caller))};
  }

  FilterBlock parse_filter_block() {
    FilterBlock node;
    node.filters.push_back(parse_filter());
    while (skip_symbol("|")) node.filters.push_back(parse_filter());
    node.body = parse_closed_body("endfilter");
    return node;
  }

  With parse_with() {
    With node;
    while (peek().kind != Kind::tag_end && !peek().is_symbol(":")) {
      if (!node.assignments.empty()) expect_symbol(",");
      Target target = parse_target(false);
      expect_symbol("=");
      node.assignments.emplace_back(std::move(target), parse_expression());
    }
    node.body = parse_body("endwith");
    return node;
  }

  // Targets of assignments.

  std::string parse_target_name() {
    int here = line();
    std::string name = expect_name();
    if (is_constant_name(name)) fail_syntax(here, concat("cannot assign to ", quoted(name)));
    return name;
  }

  Target parse_target(bool with_fields) {
    DepthGuard guard(meter_);
    if (skip_symbol("(")) {
      Target target = parse_targets("", with_fields);
      expect_symbol(")");
      return target;
    }
    Target target;
    target.name = parse_target_name();
    if (with_fields && skip_symbol(".")) target.field = expect_name();
    return target;
  }

  // One target, or several with commas, the last of which may be followed by `end`.
  Target parse_targets(std::string_view end, bool with_fields) {
    Target first = parse_target(with_fields);
    if (!peek().is_symbol(",")) return first;
    Target all;
    all.is_tuple = true;
    all.parts.push_back(std::move(first));
    while (skip_symbol(",")) {
      if (peek().is_symbol(")") || peek().is_symbol("=") || peek().is_name(end)) break;
      all.parts.push_back(parse_target(with_fields));
    }
    return all;
  }

  // Expressions.

  // An expression, or several with commas. A tuple may end in a comma, before `end` for one.
  ExpressionPtr parse_tuple(bool with_conditional, bool in_parentheses, std::string_view end) {
    int start = line();
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect_symbol(",");
      if (peek().kind == Kind::print_end || peek().kind == Kind::tag_end || peek().is_symbol(")") ||
          (!end.empty() && peek().is_name(end))) {
        break;
      }
      items.push_back(with_conditional ? parse_expression() : parse_or());
      if (!peek().is_symbol(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return std::move(items[0]);
    if (!is_tuple && !in_parentheses) fail_expected("an expression");
    return make(start, SequenceDisplay{Sequence::Form::tuple, std::move(items)});
  }

  ExpressionPtr parse_expression() {
    DepthGuard guard(meter_);
    int start = line();
    ExpressionPtr result = parse_or();
    for (int depth = 0; skip_name("if"); ++depth) {
      if (depth > 0)
        fail_unsupported_syntax(start, "a conditional on a conditional without parentheses");
      ExpressionPtr test = parse_or();
      ExpressionPtr otherwise = skip_name("else") ? parse_expression() : nullptr;
      result = make(start, Conditional{std::move(test), std::move(result), std::move(otherwise)});
    }
    return result;
  }

  template <ExpressionPtr (Parser::*parse_operand)()>
  ExpressionPtr parse_logical(std::string_view name, bool stop_at) {
    int start = line();
    ExpressionPtr first = (this->*parse_operand)();
    if (!peek().is_name(name)) return first;
    LogicalChain chain{stop_at, {}};
    chain.operands.push_back(std::move(first));
    while (skip_name(name)) chain.operands.push_back((this->*parse_operand)());
    return make(start, std::move(chain));
  }

  ExpressionPtr parse_or() { return parse_logical<&Parser::parse_and>("or", true); }
  ExpressionPtr parse_and() { return parse_logical<&Parser::parse_not>("and", false); }

  ExpressionPtr parse_not() {
    if (!peek().is_name("not")) return parse_compare();
    DepthGuard guard(meter_);
    int start = line();
    next();
    return make(start, Unary{Unary::Op::logical_not, parse_not()});
  }

  ExpressionPtr parse_compare() {
    static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
        {"==", CompareOp::equal},  {"!=", CompareOp::not_equal},
        {"<", CompareOp::less},    {"<=", CompareOp::less_equal},
        {">", CompareOp::greater}, {">=", CompareOp::greater_equal}};
    int start = line();
    CompareChain chain{parse_sum(), {}};
    while (true) {
      if (skip_name("in")) {
        chain.rest.emplace_back(CompareOp::in, parse_sum());
        continue;
      }
      if (peek().is_name("not") && peek(1).is_name("in")) {
        next();
        next();
        chain.rest.emplace_back(CompareOp::not_in, parse_sum());
        continue;
      }
      auto op = std::find_if(
          std::begin(kOperators), std::end(kOperators),
          [&](const auto& candidate) { return peek().is_symbol(candidate.first); });
      if (op == std::end(kOperators)) break;
      next();
      chain.rest.emplace_back(op->second, parse_sum());
    }
    if (chain.rest.empty()) return std::move(chain.first);
    return make(start, std::move(chain));
  }

  struct BinarySymbol {
    std::string_view symbol;
    BinaryOp op;
  };

  template <ExpressionPtr (Parser::*parse_operand)()>
  ExpressionPtr parse_binary(std::initializer_list<BinarySymbol> operators) {
    int start = line();
    BinaryChain chain{(this->*parse_operand)(), {}};
    while (true) {
      auto op = std::find_if(
          operators.begin(), operators.end(),
          [&](const BinarySymbol& candidate) { return peek().is_symbol(candidate.symbol); });
      if (op == operators.end()) break;
      next();
      chain.rest.emplace_back(op->op, (this->*parse_operand)());
    }
    if (chain.rest.empty()) return std::move(chain.first);
    return make(start, std::move(chain));
  }

  ExpressionPtr parse_sum() {
    return parse_binary<&Parser::parse_concatenation>(
        {{"+", BinaryOp::add}, {"-", BinaryOp::subtract}});
  }
  ExpressionPtr parse_concatenation() {
    return parse_binary<&Parser::parse_product>({{"~", BinaryOp::concatenate}});
  }
  ExpressionPtr parse_product() {
    return parse_binary<&Parser::parse_power>({{"*", BinaryOp::multiply},
                                               {"/", BinaryOp::divide},
                                               {"//", BinaryOp::floor_divide},
                                               {"%", BinaryOp::modulo}});
  }
  ExpressionPtr parse_power() {
    return parse_binary<&Parser::parse_filtered>({{"**", BinaryOp::power}});
  }
  ExpressionPtr parse_filtered() { return parse_unary(true); }

  ExpressionPtr parse_unary(bool with_filters) {
    int start = line();
    ExpressionPtr base;
    if (peek().is_symbol("-") || peek().is_symbol("+")) {
      DepthGuard guard(meter_);
      Unary::Op op = next().text == "-" ? Unary::Op::negate : Unary::Op::plus;
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

  ExpressionPtr parse_primary() {
    int start = line();
    const Token& token = peek();
    switch (token.kind) {
      case Kind::name: return parse_name();
      case Kind::string: {
        std::string text;
        while (peek().kind == Kind::string) text += next().text;
        return make_string(start, text);
      }
      case Kind::integer: return make(start, Literal{parse_integer(next())});
      case Kind::real: {
        double number = 0;
        std::string_view digits = next().text;
        auto error = std::from_chars(digits.data(), digits.data() + digits.size(), number).ec;
        if (error != std::errc())
          fail_unsupported_syntax(start, concat("the number ", quoted(digits)));
        return make(start, Literal{number});
      }
      default: break;
    }
    if (skip_symbol("(")) {
      ExpressionPtr inner = parse_tuple(true, true, "");
      expect_symbol(")");
      return inner;
    }
    if (skip_symbol("[")) return parse_list(start);
    if (skip_symbol("{")) return parse_dict(start);
    fail_expected("an expression");
  }

  static ExpressionPtr make_string(int line, std::string_view text) {
    auto object = std::make_shared<const StringObject>(
        StringObject{MarkedText(text, Origin::from_template), Charge()});
    return make(line, Literal{std::move(object)});
  }

  ExpressionPtr parse_name() {
    int start = line();
    std::string name = next().text;
    if (name == "true" || name == "True") return make(start, Literal{true});
    if (name == "false" || name == "False") return make(start, Literal{false});
    if (name == "none" || name == "None") return make(start, Literal{None{}});
    return make(start, Name{std::move(name)});
  }

  static Value parse_integer(const Token& token) {
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

  ExpressionPtr parse_list(int start) {
    std::vector<ExpressionPtr> items;
    while (!peek().is_symbol("]")) {
      if (!items.empty()) expect_symbol(",");
      if (peek().is_symbol("]")) break;
      items.push_back(parse_expression());
    }
    expect_symbol("]");
    return make(start, SequenceDisplay{Sequence::Form::list, std::move(items)});
  }

  ExpressionPtr parse_dict(int start) {
    DictDisplay dict;
    while (!peek().is_symbol("}")) {
      if (!dict.entries.empty()) expect_symbol(",");
      if (peek().is_symbol("}")) break;
      ExpressionPtr key = parse_expression();
      expect_symbol(":");
      dict.entries.emplace_back(std::move(key), parse_expression());
    }
    expect_symbol("}");
    return make(start, std::move(dict));
  }

  // What may follow a value. Each appends one suffix and says whether there was one.

  bool parse_postfix(std::vector<Suffix>& suffixes) {
    int start = line();
    if (skip_symbol(".")) {
      if (peek().kind == Kind::integer) {
        suffixes.push_back({start, ElementSuffix{make(start, Literal{parse_integer(next())})}});
      } else {
        suffixes.push_back({start, AttributeSuffix{expect_name()}});
      }
      return true;
    }
    if (skip_symbol("[")) {
      suffixes.push_back(parse_subscript(start));
      return true;
    }
    if (peek().is_symbol("(")) {
      suffixes.push_back({start, CallSuffix{parse_arguments()}});
      return true;
    }
    return false;
  }

  bool parse_filter_or_test(std::vector<Suffix>& suffixes) {
    int start = line();
    if (skip_symbol("|")) {
      suffixes.push_back(parse_filter());
    } else if (skip_name("is")) {
      suffixes.push_back(parse_test(start));
    } else if (peek().is_symbol("(")) {
      suffixes.push_back({start, CallSuffix{parse_arguments()}});
    } else {
      return false;
    }
    return true;
  }

  Suffix parse_subscript(int start) {
    auto ends_here = [&] {
      return peek().is_symbol("]") || peek().is_symbol(",") || peek().is_symbol(":");
    };
    ExpressionPtr begin, end, step;
    if (!peek().is_symbol(":")) {
      begin = parse_expression();
      if (skip_symbol("]")) return {start, ElementSuffix{std::move(begin)}};
    }
    if (peek().is_symbol(",")) fail_unsupported_syntax(start, "a subscript with several parts");
    expect_symbol(":");
    if (!ends_here()) end = parse_expression();
    if (skip_symbol(":") && !ends_here()) step = parse_expression();
    expect_symbol("]");
    return {start, SliceSuffix{std::move(begin), std::move(end), std::move(step)}};
  }

  CallArguments parse_arguments() {
    CallArguments arguments;
    expect_symbol("(");
    for (bool first = true; !peek().is_symbol(")"); first = false) {
      if (!first) {
        expect_symbol(",");
        if (peek().is_symbol(")")) break;
      }
      if (peek().is_symbol("*") || peek().is_symbol("**")) {
        fail_unsupported_syntax(line(), "a call with * or ** arguments");
      }
      if (peek().kind == Kind::name && peek(1).is_symbol("=")) {
        std::string name = next().text;
        next();
        arguments.named.emplace_back(std::move(name), parse_expression());
      } else {
        if (!arguments.named.empty())
          fail_syntax(line(), "an argument without name follows one with");
        arguments.positional.push_back(parse_expression());
      }
    }
    expect_symbol(")");
    return arguments;
  }

  // Templates for several engines ask 'if' before they use what only some offer; so, as in Jinja, what
  // is missing inside of an 'if' is an error only where it is reached.
  Native find_offered(int start, const Method* method, const char* kind,
                      const std::string& name) const {
    if (!method && num_ifs_ == 0)
      fail_unsupported_syntax(start, concat("the ", kind, " ", quoted(name)));
    return method ? method->call : nullptr;
  }

  // Filters and tests of other engines have names with dots.
  std::string parse_dotted_name() {
    std::string name = expect_name();
    while (skip_symbol(".")) name += "." + expect_name();
    return name;
  }

  Suffix parse_filter() {
    int start = line();
    std::string name = parse_dotted_name();
    FilterSuffix suffix{name, find_offered(start, find_filter(name), "filter", name), {}};
    if (peek().is_symbol("(")) suffix.arguments = parse_arguments();
    return {start, std::move(suffix)};
  }

  Suffix parse_test(int start) {
    bool negated = skip_name("not");
    std::string name = parse_dotted_name();
    TestSuffix suffix{name, find_offered(start, find_test(name), "test", name), negated, {}};
    const Token& token = peek();
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

  // A value with its postfixes, but no operators.
  ExpressionPtr parse_test_argument() {
    int start = line();
    ExpressionPtr base = parse_primary();
    std::vector<Suffix> suffixes;
    while (parse_postfix(suffixes)) {
    }
    if (suffixes.empty()) return base;
    return make(start, PostfixChain{std::move(base), std::move(suffixes)});
  }

  const std::vector<Token> tokens_;
  size_t pos_ = 0;
  Meter meter_;        // for the depth
  int num_ifs_ = 0;    // around this place
  int num_loops_ = 0;  // around this place, that break can leave
};

}  // namespace

Block parse_template(std::string_view source, const TemplateLimits& limits) {
  if (source.size() > limits.max_source_bytes) {
    throw Error(Status::UNSUPPORTED, concat("the chat template has ", format_bytes(source.size()),
                                            ", more than max_source_bytes allows"))
        .amounts(source.size(), limits.max_source_bytes);
  }
  if (size_t valid = valid_utf8_prefix(source); valid < source.size()) {
    throw Error(Status::CORRUPT, concat("the chat template is not UTF-8 at byte ", valid));
  }
  return Parser(tokenize_template(source), limits).run();
}

}  // namespace kvi::jinja
