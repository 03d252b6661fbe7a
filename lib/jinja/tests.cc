// The tests of `value is test`.
#include <algorithm>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/strings.h"

namespace kvi::jinja {
namespace {

template <bool (*test)(const Value&)>
Value simple(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "this test", arguments, {});
  return test(value);
}

template <CompareOp op>
Value comparison(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "this test", arguments, {"other"});
  return runtime.compare(op, value, bound.required(0));
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.is_bool(); }
bool is_true(const Value& v) { return v.is_bool() && v.truthy(); }
bool is_false(const Value& v) { return v.is_bool() && !v.truthy(); }
bool is_integer(const Value& v) { return v.is_int() && !v.is_bool(); }
bool is_float(const Value& v) { return v.is_float(); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is_dict(); }
bool is_callable(const Value& v) { return v.function() != nullptr; }
bool is_iterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_dict() || v.sequence() || v.loop();
}
bool is_sequence(const Value& v) {
  const Sequence* items = v.sequence();
  bool indexed = items && items->form != Sequence::Form::view &&
                 items->form != Sequence::Form::iterator;
  return v.is_undefined() || v.is_string() || v.is_dict() || indexed;
}
bool is_escaped(const Value&) { return false; }

Value divisible_by(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "divisibleby", arguments, {"num"});
  return runtime.equal(runtime.binary(BinaryOp::modulo, value, bound.required(0)), int64_t{0});
}

template <int64_t rest>
Value parity(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "even/odd", arguments, {});
  return runtime.equal(runtime.binary(BinaryOp::modulo, value, int64_t{2}), rest);
}

Value same_as(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "sameas", arguments, {"other"});
  return value.is_same_object(bound.required(0));
}

template <bool (*test)(std::string_view)>
Value text_case(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "upper/lower", arguments, {});
  Value storage;
  const MarkedText& text = runtime.text_of(value, storage);
  runtime.meter().work(text.size() * 128);
  return test(text.view());
}

template <const Method* (*find)(std::string_view)>
Value names(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "filter/test", arguments, {});
  return value.is_string() && find(value.as_view()) != nullptr;
}

constexpr Method kTests[] = {
    {"!=", comparison<CompareOp::not_equal>},
    {"<", comparison<CompareOp::less>},
    {"<=", comparison<CompareOp::less_equal>},
    {"==", comparison<CompareOp::equal>},
    {">", comparison<CompareOp::greater>},
    {">=", comparison<CompareOp::greater_equal>},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", divisible_by},
    {"eq", comparison<CompareOp::equal>},
    {"equalto", comparison<CompareOp::equal>},
    {"escaped", simple<is_escaped>},
    {"even", parity<0>},
    {"false", simple<is_false>},
    {"filter", names<find_filter>},
    {"float", simple<is_float>},
    {"ge", comparison<CompareOp::greater_equal>},
    {"greaterthan", comparison<CompareOp::greater>},
    {"gt", comparison<CompareOp::greater>},
    {"in", comparison<CompareOp::in>},
    {"integer", simple<is_integer>},
    {"iterable", simple<is_iterable>},
    {"le", comparison<CompareOp::less_equal>},
    {"lessthan", comparison<CompareOp::less>},
    {"lower", text_case<kvi::jinja::is_lower>},
    {"lt", comparison<CompareOp::less>},
    {"mapping", simple<is_mapping>},
    {"ne", comparison<CompareOp::not_equal>},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", parity<1>},
    {"sameas", same_as},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_string>},
    {"test", names<find_test>},
    {"true", simple<is_true>},
    {"undefined", simple<is_undefined>},
    {"upper", text_case<kvi::jinja::is_upper>},
};

}  // namespace

const Method* find_test(std::string_view name) { return find_sorted(kTests, name); }

}  // namespace kvi::jinja
