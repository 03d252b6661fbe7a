// Runs the syntax tree of a chat template: names, control flow, macros and output.
//
// What operators and filters do is the runtime's business.
//
// Not thread-safe: one rendering, one interpreter. The tree and the runtime outlive it.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/runtime.h"

namespace kvi::jinja {

// The names assigned in one block, inside those of the block around it as it was written.
struct Scope : std::enable_shared_from_this<Scope> {
  explicit Scope(std::shared_ptr<Scope> around) : parent(std::move(around)) {}

  std::shared_ptr<Scope> parent;
  std::map<std::string_view, Value> names;  // they live as long as the program or the input
};

// How deep evaluation may nest for a template that nests by max_depth as written: each written level
// passes through several operators, and macros call each other.
inline int evaluation_depth(const TemplateLimits& limits) { return limits.max_depth * 10; }

class Interpreter {
 public:
  explicit Interpreter(Runtime& runtime);

  void define(std::string_view name, Value value);  // name outlives the interpreter
  MarkedText run(const Block& program);

 private:
  enum class Flow { normal, break_loop, continue_loop };

  Flow execute(const Block& block);
  Flow execute_in_new_scope(const Block& block);
  Value capture(const Block& block);  // what the block would print

  Flow execute_node(const Text& node);
  Flow execute_node(const Print& node);
  Flow execute_node(const If& node);
  Flow execute_node(const For& node);
  Flow execute_node(const Set& node);
  Flow execute_node(const SetBlock& node);
  Flow execute_node(const MacroDefinition& node);
  Flow execute_node(const CallBlock& node);
  Flow execute_node(const FilterBlock& node);
  Flow execute_node(const With& node);
  Flow execute_node(const Break&) { return Flow::break_loop; }
  Flow execute_node(const Continue&) { return Flow::continue_loop; }

  Value evaluate(const Expression& expression);
  Value evaluate_optional(const ExpressionPtr& expression);  // none where there is none
  Value evaluate_node(const Literal& node) { return node.value; }
  Value evaluate_node(const Name& node);
  Value evaluate_node(const SequenceDisplay& node);
  Value evaluate_node(const DictDisplay& node);
  Value evaluate_node(const Unary& node);
  Value evaluate_node(const BinaryChain& node);
  Value evaluate_node(const LogicalChain& node);
  Value evaluate_node(const CompareChain& node);
  Value evaluate_node(const Conditional& node);
  Value evaluate_node(const PostfixChain& node);

  Value apply(const Suffix& suffix, const Value& value, const Value* caller);
  Value apply_node(const AttributeSuffix& node, const Value& value);
  Value apply_node(const ElementSuffix& node, const Value& value);
  Value apply_node(const SliceSuffix& node, const Value& value);
  Value apply_node(const FilterSuffix& node, const Value& value);
  Value apply_node(const TestSuffix& node, const Value& value);
  Value apply_filters(const std::vector<Suffix>& filters, Value value);

  Arguments evaluate_arguments(const CallArguments& arguments);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const Function& function, const Arguments& arguments);
  Value make_macro(const Macro& macro);

  std::shared_ptr<Sequence> loop_items(const For& node);
  void assign(const Target& target, const Value& value);
  void print_value(const Value& value);
  void check_output() const;

  Runtime& runtime_;
  Meter& meter_;
  TextBuilder output_;
  TextBuilder* out_ = &output_;
  std::shared_ptr<Scope> scope_ = std::make_shared<Scope>(nullptr);
  std::vector<std::shared_ptr<Scope>> kept_scopes_;  // that macros were defined in
};

}  // namespace kvi::jinja
