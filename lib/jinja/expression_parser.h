// Parses the expressions of a chat template, with the filters and tests in them.
//
// Precedence climbs by one function a level, as in Jinja's grammar. Knows no statements.
//
// Not thread-safe: one parse, one parser; the reader outlives it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/token_reader.h"

namespace kvi::jinja {

struct Method;

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenReader& in) : in_(in) {}

  ExpressionPtr parse_expression();
  // An expression, or several with commas.
  ExpressionPtr parse_tuple() { return parse_items(true, false, ""); }
  // The same without 'a if b else c', where 'if' or `end` may follow.
  ExpressionPtr parse_head(std::string_view end = "") { return parse_items(false, false, end); }
  Suffix parse_filter();  // what follows '|'

  // Templates for several engines ask 'if' before they use what only some offer; so, as in Jinja, a
  // missing filter or test is an error inside of an 'if' only where it is reached.
  void enter_if() { ++num_ifs_; }
  void leave_if() { --num_ifs_; }

 private:
  using Operand = ExpressionPtr (ExpressionParser::*)();
  struct BinarySymbol {
    std::string_view symbol;
    BinaryOp op;
  };

  ExpressionPtr parse_items(bool with_conditional, bool in_parentheses, std::string_view end);
  ExpressionPtr parse_logical(std::string_view name, bool stop_at, Operand parse_operand);
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_binary(std::initializer_list<BinarySymbol> operators, Operand parse_operand);
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_filtered();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_list(int start);
  ExpressionPtr parse_dict(int start);

  // What may follow a value. Each appends one suffix and says whether there was one.
  bool parse_postfix(std::vector<Suffix>& suffixes);
  bool parse_filter_or_test(std::vector<Suffix>& suffixes);
  Suffix parse_subscript(int start);
  CallArguments parse_arguments();
  Suffix parse_test(int start);
  ExpressionPtr parse_test_argument();  // a value with its postfixes, but no operators
  std::string parse_dotted_name();      // filters and tests of other engines have dots
  Native find_offered(int start, const Method* method, const char* kind,
                      const std::string& name) const;

  TokenReader& in_;
  int num_ifs_ = 0;  // around this place
};

}  // namespace kvi::jinja
