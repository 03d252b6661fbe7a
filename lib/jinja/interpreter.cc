#include "jinja/interpreter.h"

#include <algorithm>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"

namespace kvi::jinja {

Interpreter::Interpreter(Runtime& runtime)
    : runtime_(runtime), meter_(runtime.meter()), output_(runtime.meter()) {}

void Interpreter::define(std::string_view name, Value value) {
  scope_->names.insert_or_assign(name, std::move(value));
}

MarkedText Interpreter::run(const Block& program) {
  execute(program);
  return output_.text();
}

void Interpreter::check_output() const {
  uint64_t limit = meter_.limits().max_output_bytes;
  if (out_->size() > limit) {
    meter_.fail_limit(concat("more than ", format_bytes(limit), " of output (max_output_bytes)"));
  }
}

void Interpreter::print_value(const Value& value) {
  print(*out_, value);
  check_output();
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  DepthGuard guard(meter_);
  for (const Statement& statement : block) {
    meter_.set_line(statement.line);
    meter_.step();
    Flow flow = std::visit([this](const auto& node) { return execute_node(node); }, statement.node);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_in_new_scope(const Block& block) {
  std::shared_ptr<Scope> outer = scope_;
  scope_ = std::make_shared<Scope>(outer);
  Flow flow = execute(block);
  scope_ = std::move(outer);
  return flow;
}

Value Interpreter::capture(const Block& block) {
  TextBuilder captured(meter_);
  TextBuilder* outer = std::exchange(out_, &captured);
  execute_in_new_scope(block);
  out_ = outer;
  return captured.finish();
}

Interpreter::Flow Interpreter::execute_node(const Text& node) {
  out_->append(node.text, Origin::from_template);
  check_output();
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const Print& node) {
  print_value(evaluate(*node.value));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const If& node) {
  for (const If::Branch& branch : node.branches) {
    if (!branch.test || evaluate(*branch.test).truthy()) return execute(branch.body);
  }
  return Flow::normal;
}

std::shared_ptr<Sequence> Interpreter::loop_items(const For& node) {
  std::shared_ptr<Sequence> items = runtime_.iterate(evaluate(*node.items));
  if (!node.filter) return items;
  std::shared_ptr<Scope> outer = scope_;
  std::vector<Value> chosen;
  for (const Value& item : items->items) {
    scope_ = std::make_shared<Scope>(outer);
    assign(node.target, item);
    if (evaluate(*node.filter).truthy()) chosen.push_back(item);
  }
  scope_ = std::move(outer);
  return runtime_.iterate(runtime_.list(std::move(chosen)));
}

Interpreter::Flow Interpreter::execute_node(const For& node) {
  auto loop = std::make_shared<Loop>(Loop{loop_items(node), 0, Charge(meter_, sizeof(Loop))});
  std::shared_ptr<Scope> outer = scope_;
  bool any_finished = false;  // as in Jinja, 'else' runs unless some pass reached its end
  Flow leaving = Flow::normal;
  for (; loop->index0 < loop->items->items.size() && leaving != Flow::break_loop; ++loop->index0) {
    meter_.step();
    scope_ = std::make_shared<Scope>(outer);
    define("loop", loop);
    assign(node.target, loop->items->items[loop->index0]);
    leaving = execute(node.body);
    any_finished = any_finished || leaving == Flow::normal;
  }
  scope_ = std::move(outer);
  if (!any_finished && !node.otherwise.empty()) return execute_in_new_scope(node.otherwise);
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const Set& node) {
  assign(node.target, evaluate(*node.value));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const SetBlock& node) {
  assign(node.target, apply_filters(node.filters, capture(node.body)));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const MacroDefinition& node) {
  define(node.macro->name, make_macro(*node.macro));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const CallBlock& node) {
  const auto& chain = std::get<PostfixChain>(node.call->node);
  Value caller = make_macro(*node.caller);
  Value value = evaluate(*chain.base);
  for (const Suffix& suffix : chain.suffixes) {
    value = apply(suffix, value, &suffix == &chain.suffixes.back() ? &caller : nullptr);
  }
  print_value(value);
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const FilterBlock& node) {
  print_value(apply_filters(node.filters, capture(node.body)));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_node(const With& node) {
  std::vector<Value> values;  // of the scope around
  for (const auto& assignment : node.assignments) values.push_back(evaluate(*assignment.second));
  std::shared_ptr<Scope> outer = scope_;
  scope_ = std::make_shared<Scope>(outer);
  for (size_t i = 0; i < values.size(); ++i) assign(node.assignments[i].first, values[i]);
  Flow flow = execute(node.body);
  scope_ = std::move(outer);
  return flow;
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    std::shared_ptr<Sequence> items = runtime_.iterate(value);
    if (items->items.size() != target.parts.size()) {
      runtime_.fail(concat(items->items.size(), " values for ", target.parts.size(), " targets"));
    }
    for (size_t i = 0; i < target.parts.size(); ++i) assign(target.parts[i], items->items[i]);
    return;
  }
  if (target.field.empty()) {
    define(target.name, value);
    return;
  }
  Namespace* space = evaluate_node(Name{target.name}).as_namespace();
  if (!space)
    runtime_.fail(concat(quoted(target.name), " is no namespace, so has no field to set"));
  runtime_.set_field(*space, target.field, value);
}

Value Interpreter::evaluate(const Expression& expression) {
  DepthGuard guard(meter_);
  meter_.set_line(expression.line);
  meter_.step();
  return std::visit([this](const auto& node) { return evaluate_node(node); }, expression.node);
}

Value Interpreter::evaluate_optional(const ExpressionPtr& expression) {
  return expression ? evaluate(*expression) : Value(None{});
}

Value Interpreter::evaluate_node(const Name& node) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    meter_.step();
    auto found = scope->names.find(node.name);
    if (found != scope->names.end()) return found->second;
  }
  const Method* function = find_function(node.name);
  if (!function || (node.name == "strftime_now" && !runtime_.now())) return Undefined{node.name};
  return std::make_shared<const Function>(Function{function->name, function->call, None{}, nullptr,
                                                   nullptr, Charge(meter_, sizeof(Function))});
}

Value Interpreter::evaluate_node(const SequenceDisplay& node) {
  std::vector<Value> items;
  for (const ExpressionPtr& item : node.items) items.push_back(evaluate(*item));
  return runtime_.sequence(node.form, std::move(items));
}

Value Interpreter::evaluate_node(const DictDisplay& node) {
  std::shared_ptr<Dict> dict = runtime_.new_dict();
  for (const auto& [key, value] : node.entries) {
    Value evaluated = evaluate(*key);
    runtime_.put(*dict, std::move(evaluated), evaluate(*value));
  }
  return std::shared_ptr<const Dict>(std::move(dict));
}

Value Interpreter::evaluate_node(const Unary& node) {
  Value value = evaluate(*node.operand);
  if (node.op == Unary::Op::logical_not) return !value.truthy();
  if (node.op == Unary::Op::negate) return runtime_.negate(value);
  return runtime_.binary(BinaryOp::add, int64_t{0}, value);
}

Value Interpreter::evaluate_node(const BinaryChain& node) {
  Value value = evaluate(*node.first);
  if (node.rest.front().first == BinaryOp::concatenate) {  // then all are
    TextBuilder out(meter_);
    print(out, value);
    for (const auto& operand : node.rest) print(out, evaluate(*operand.second));
    return out.finish();
  }
  for (const auto& [op, operand] : node.rest)
    value = runtime_.binary(op, value, evaluate(*operand));
  return value;
}

Value Interpreter::evaluate_node(const LogicalChain& node) {
  Value value;
  for (const ExpressionPtr& operand : node.operands) {
    value = evaluate(*operand);
    if (value.truthy() == node.stop_at) break;
  }
  return value;
}

Value Interpreter::evaluate_node(const CompareChain& node) {
  Value left = evaluate(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = evaluate(*operand);
    if (!runtime_.compare(op, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate_node(const Conditional& node) {
  if (evaluate(*node.test).truthy()) return evaluate(*node.then);
  return node.otherwise ? evaluate(*node.otherwise) : Value(Undefined{});
}

Value Interpreter::evaluate_node(const PostfixChain& node) {
  Value value = evaluate(*node.base);
  for (const Suffix& suffix : node.suffixes) value = apply(suffix, value, nullptr);
  return value;
}

Value Interpreter::apply(const Suffix& suffix, const Value& value, const Value* caller) {
  meter_.set_line(suffix.line);
  meter_.step();
  return std::visit(
      [&](const auto& node) -> Value {
        if constexpr (std::is_same_v<std::decay_t<decltype(node)>, CallSuffix>) {
          Arguments arguments = evaluate_arguments(node.arguments);
          if (caller) arguments.named.emplace_back("caller", *caller);
          meter_.set_line(suffix.line);
          return call(value, arguments);
        } else {
          return apply_node(node, value);
        }
      },
      suffix.node);
}

Value Interpreter::apply_node(const AttributeSuffix& node, const Value& value) {
  Value result = runtime_.attribute(value, node.name);
  return result.is_undefined() && result.undefined_name().empty() ? Value(Undefined{node.name})
                                                                  : result;
}

Value Interpreter::apply_node(const ElementSuffix& node, const Value& value) {
  Value result = runtime_.element(value, evaluate(*node.key));
  const auto* literal = std::get_if<Literal>(&node.key->node);
  if (result.is_undefined() && literal && literal->value.is_string()) {
    return Undefined{literal->value.as_view()};
  }
  return result;
}

Value Interpreter::apply_node(const SliceSuffix& node, const Value& value) {
  Value begin = evaluate_optional(node.begin);
  Value end = evaluate_optional(node.end);
  return runtime_.slice(value, begin, end, evaluate_optional(node.step));
}

Value Interpreter::apply_node(const FilterSuffix& node, const Value& value) {
  if (!node.filter) runtime_.fail_unsupported(concat("the filter ", quoted(node.name)));
  return node.filter(runtime_, value, evaluate_arguments(node.arguments));
}

Value Interpreter::apply_node(const TestSuffix& node, const Value& value) {
  if (!node.test) runtime_.fail_unsupported(concat("the test ", quoted(node.name)));
  return node.test(runtime_, value, evaluate_arguments(node.arguments)).truthy() != node.negated;
}

Value Interpreter::apply_filters(const std::vector<Suffix>& filters, Value value) {
  for (const Suffix& filter : filters) value = apply(filter, value, nullptr);
  return value;
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments evaluated;
  for (const ExpressionPtr& argument : arguments.positional) {
    evaluated.positional.push_back(evaluate(*argument));
  }
  for (const auto& [name, argument] : arguments.named) {
    evaluated.named.emplace_back(name, evaluate(*argument));
  }
  return evaluated;
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  const Function* function = callee.function();
  if (!function) {
    if (!callee.is_undefined())
      runtime_.fail(concat("a value of type ", callee.type_name(), " cannot be called"));
    std::string_view name = callee.undefined_name();
    runtime_.fail(
        concat(name.empty() ? "what is called" : quoted(name), " is undefined or not supported"));
  }
  if (function->macro) return call_macro(*function, arguments);
  return function->native(runtime_, function->receiver, arguments);
}

Value Interpreter::make_macro(const Macro& macro) {
  meter_.charge(sizeof(Scope));  // until the rendering ends
  kept_scopes_.push_back(scope_);
  return std::make_shared<const Function>(Function{macro.name, nullptr, None{}, &macro,
                                                   scope_.get(), Charge(meter_, sizeof(Function))});
}

Value Interpreter::call_macro(const Function& function, const Arguments& arguments) {
  const Macro& macro = *function.macro;
  if (arguments.positional.size() > macro.parameters.size()) {
    runtime_.fail(concat("macro ", quoted(macro.name), " takes at most ", macro.parameters.size(),
                         " arguments"));
  }
  for (const auto& argument : arguments.named) {
    auto takes = [&](const auto& parameter) { return parameter.first == argument.first; };
    auto place = std::find_if(macro.parameters.begin(), macro.parameters.end(), takes);
    bool given = place - macro.parameters.begin() <
                 static_cast<ptrdiff_t>(arguments.positional.size());
    if (given || (place == macro.parameters.end() && argument.first != "caller")) {
      runtime_.fail(concat("macro ", quoted(macro.name), " does not take ", quoted(argument.first),
                           " as an argument here"));
    }
  }
  std::shared_ptr<Scope> outer = scope_;
  scope_ = std::make_shared<Scope>(function.scope->shared_from_this());
  for (const auto& [name, value] : arguments.named) define(name, value);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    if (i < arguments.positional.size()) {
      define(name, arguments.positional[i]);
    } else if (!scope_->names.contains(name)) {
      define(name, fallback ? evaluate(*fallback) : Value(Undefined{name}));
    }
  }
  TextBuilder captured(meter_);
  TextBuilder* caller_out = std::exchange(out_, &captured);
  execute(macro.body);
  out_ = caller_out;
  scope_ = std::move(outer);
  return captured.finish();
}

}  // namespace kvi::jinja
