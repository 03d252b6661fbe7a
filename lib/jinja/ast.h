// The syntax tree of a chat template.
//
// Chains of operators, of postfixes and of elif branches are flat lists, so the depth of the tree
// is the nesting that the author wrote; the parser bounds it, and with it every walk over the tree.
//
// Immutable once parsed, so thread-safe. It owns the names and constants that values point at.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/value.h"

namespace kvi::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;
struct Statement;
using Block = std::vector<Statement>;

enum class BinaryOp { add, subtract, multiply, divide, floor_divide, modulo, power, concatenate };
enum class CompareOp { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct SequenceDisplay {  // [a, b] or (a, b)
  Sequence::Form form;
  std::vector<ExpressionPtr> items;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Unary {
  enum class Op { negate, plus, logical_not } op;
  ExpressionPtr operand;
};
struct BinaryChain {  // a + b - c, evaluated from the left
  ExpressionPtr first;
  std::vector<std::pair<BinaryOp, ExpressionPtr>> rest;
};
struct LogicalChain {
  bool stop_at;  // the truth that decides: true for `or`, false for `and`
  std::vector<ExpressionPtr> operands;
};
struct CompareChain {  // a < b <= c
  ExpressionPtr first;
  std::vector<std::pair<CompareOp, ExpressionPtr>> rest;
};
struct Conditional {
  ExpressionPtr test, then, otherwise;  // otherwise may be null: undefined
};

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};
struct AttributeSuffix {
  std::string name;
};
struct ElementSuffix {
  ExpressionPtr key;
};
struct SliceSuffix {
  ExpressionPtr begin, end, step;  // each may be null
};
struct CallSuffix {
  CallArguments arguments;
};
struct FilterSuffix {
  std::string name;
  Native filter;  // null: not offered, which is an error where it is reached
  CallArguments arguments;
};
struct TestSuffix {
  std::string name;
  Native test;  // null as above
  bool negated;
  CallArguments arguments;
};
struct Suffix {
  int line;
  std::variant<AttributeSuffix, ElementSuffix, SliceSuffix, CallSuffix, FilterSuffix, TestSuffix>
      node;
};
struct PostfixChain {  // a.b[c](d)|e is f
  ExpressionPtr base;
  std::vector<Suffix> suffixes;
};

struct Expression {
  int line;
  std::variant<Literal, Name, SequenceDisplay, DictDisplay, Unary, BinaryChain, LogicalChain,
               CompareChain, Conditional, PostfixChain>
      node;
};

// What is assigned to: a name, a namespace's field, or several targets at once.
struct Target {
  std::string name;
  std::string field;          // of the namespace called name, where not empty
  std::vector<Target> parts;  // where not a single one
  bool is_tuple = false;
};

struct Text {
  std::string text;
};
struct Print {
  ExpressionPtr value;
};
struct If {
  struct Branch {
    ExpressionPtr test;  // null: else
    Block body;
  };
  std::vector<Branch> branches;
};
struct For {
  Target target;
  ExpressionPtr items;
  ExpressionPtr filter;  // may be null
  Block body, otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  std::vector<Suffix> filters;
  Block body;
};
struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // default or null
  Block body;
};
struct MacroDefinition {
  std::unique_ptr<const Macro> macro;
};
struct CallBlock {
  ExpressionPtr call;  // a PostfixChain that ends in a CallSuffix
  std::unique_ptr<const Macro> caller;
};
struct FilterBlock {
  std::vector<Suffix> filters;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Text, Print, If, For, Set, SetBlock, MacroDefinition, CallBlock, FilterBlock, With,
               Break, Continue>
      node;
};

}  // namespace kvi::jinja
