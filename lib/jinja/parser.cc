#include "jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "jinja/expression_parser.h"
#include "jinja/token_reader.h"

namespace kvi::jinja {
namespace {

using Kind = Token::Kind;

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateLimits& limits)
      : in_(std::move(tokens), limits), expressions_(in_) {}

  Block run() {
    std::string end;
    return parse_block({}, end);
  }

 private:
  // Statements.

  // Up to a tag with one of these names, which is consumed up to (not with) its '%}'; or, without
  // names, to the end of the template.
  Block parse_block(std::initializer_list<std::string_view> ends, std::string& end) {
    Block block;
    while (true) {
      int line_here = in_.line();
      switch (in_.peek().kind) {
        case Kind::text: block.push_back({line_here, Text{in_.next().text}}); break;
        case Kind::print_begin:
          in_.next();
          block.push_back({line_here, Print{expressions_.parse_tuple()}});
          in_.expect(Kind::print_end);
          break;
        case Kind::tag_begin:
          in_.next();
          if (in_.peek().kind == Kind::name &&
              std::find(ends.begin(), ends.end(), in_.peek().text) != ends.end()) {
            end = in_.next().text;
            return block;
          }
          block.push_back(parse_statement());
          in_.expect(Kind::tag_end);
          break;
        default:
          if (in_.peek().kind != Kind::end || ends.size() > 0) {
            in_.fail_expected(ends.size() > 0 ? quoted(*(ends.end() - 1)) : std::string("text"));
          }
          return block;
      }
    }
  }

  // The body of a statement whose head is read: ':' or nothing, '%}', the block, its end.
  Block parse_body(std::initializer_list<std::string_view> ends, std::string& end) {
    in_.skip_symbol(":");
    in_.expect(Kind::tag_end);
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
    DepthGuard guard(in_.meter());
    int start = in_.line();
    std::string name = in_.expect_name();
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
    expressions_.enter_if();
    ExpressionPtr test = expressions_.parse_head();
    node.branches.push_back({std::move(test), parse_body({"elif", "else", "endif"}, end)});
    while (end == "elif") {
      test = expressions_.parse_head();
      node.branches.push_back({std::move(test), parse_body({"elif", "else", "endif"}, end)});
    }
    if (end == "else") node.branches.push_back({nullptr, parse_body("endif")});
    expressions_.leave_if();
    return node;
  }

  For parse_for() {
    For node;
    node.target = parse_targets("in", false);
    if (!in_.skip_name("in")) in_.fail_expected("'in'");
    node.items = expressions_.parse_head("recursive");
    if (in_.skip_name("if")) node.filter = expressions_.parse_expression();
    if (in_.peek().is_name("recursive")) fail_unsupported_syntax(in_.line(), "a recursive loop");
    std::string end;
    ++num_loops_;
    node.body = parse_body({"else", "endfor"}, end);
    --num_loops_;
    if (end == "else") node.otherwise = parse_body("endfor");
    return node;
  }

  Statement parse_set(int start) {
    Target target = parse_targets("", true);
    if (in_.skip_symbol("=")) return {start, Set{std::move(target), expressions_.parse_tuple()}};
    std::vector<Suffix> filters;
    while (in_.skip_symbol("|")) filters.push_back(expressions_.parse_filter());
    return {start, SetBlock{std::move(target), std::move(filters), parse_closed_body("endset")}};
  }

  std::vector<std::pair<std::string, ExpressionPtr>> parse_parameters() {
    std::vector<std::pair<std::string, ExpressionPtr>> parameters;
    in_.expect_symbol("(");
    while (!in_.peek().is_symbol(")")) {
      if (!parameters.empty()) in_.expect_symbol(",");
      std::string name = parse_target_name();
      ExpressionPtr fallback;
      if (in_.skip_symbol("=")) {
        fallback = expressions_.parse_expression();
      } else if (!parameters.empty() && parameters.back().second) {
        fail_syntax(in_.line(), "a parameter without default follows one with");
      }
      parameters.emplace_back(std::move(name), std::move(fallback));
    }
    in_.expect_symbol(")");
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
    if (in_.peek().is_symbol("(")) caller.parameters = parse_parameters();
    ExpressionPtr call = expressions_.parse_expression();
    const auto* chain = std::get_if<PostfixChain>(&call->node);
    if (!chain || !std::holds_alternative<CallSuffix>(chain->suffixes.back().node)) {
      fail_syntax(start, "'call' needs a call");
    }
    caller.body = parse_closed_body("endcall");
    return {std::move(call), std::make_unique<const Macro>(std::move(caller))};
  }

  FilterBlock parse_filter_block() {
    FilterBlock node;
    node.filters.push_back(expressions_.parse_filter());
    while (in_.skip_symbol("|")) node.filters.push_back(expressions_.parse_filter());
    node.body = parse_closed_body("endfilter");
    return node;
  }

  With parse_with() {
    With node;
    while (in_.peek().kind != Kind::tag_end && !in_.peek().is_symbol(":")) {
      if (!node.assignments.empty()) in_.expect_symbol(",");
      Target target = parse_target(false);
      in_.expect_symbol("=");
      node.assignments.emplace_back(std::move(target), expressions_.parse_expression());
    }
    node.body = parse_body("endwith");
    return node;
  }

  // Targets of assignments.

  std::string parse_target_name() {
    int here = in_.line();
    std::string name = in_.expect_name();
    if (is_constant_name(name)) fail_syntax(here, concat("cannot assign to ", quoted(name)));
    return name;
  }

  Target parse_target(bool with_fields) {
    DepthGuard guard(in_.meter());
    if (in_.skip_symbol("(")) {
      Target target = parse_targets("", with_fields);
      in_.expect_symbol(")");
      return target;
    }
    Target target;
    target.name = parse_target_name();
    if (with_fields && in_.skip_symbol(".")) target.field = in_.expect_name();
    return target;
  }

  // One target, or several with commas, the last of which may be followed by `end`.
  Target parse_targets(std::string_view end, bool with_fields) {
    Target first = parse_target(with_fields);
    if (!in_.peek().is_symbol(",")) return first;
    Target all;
    all.is_tuple = true;
    all.parts.push_back(std::move(first));
    while (in_.skip_symbol(",")) {
      if (in_.peek().is_symbol(")") || in_.peek().is_symbol("=") || in_.peek().is_name(end)) break;
      all.parts.push_back(parse_target(with_fields));
    }
    return all;
  }

  TokenReader in_;
  ExpressionParser expressions_;
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
