// The operators of Runtime: arithmetic and comparison, as Python does them.
//
// Numbers are number.cc's; elements, attributes and slices are runtime.cc's.
//
// Not thread-safe, as the runtime.
#include <algorithm>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"
#include "jinja/runtime.h"
#include "jinja/strings.h"

namespace kvi::jinja {
namespace {

const char* symbol(BinaryOp op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**", "~"};
  return kSymbols[static_cast<int>(op)];
}

}  // namespace

Value Runtime::repeat(const Value& what, const Value& times) {
  int64_t count = std::max<int64_t>(times.as_int(), 0);
  size_t size = what.is_string() ? what.as_text().size() : what.sequence()->items.size();
  if (size == 0) count = 0;
  auto check = [&](size_t item_bytes) {  // before anything is allocated
    if (static_cast<uint64_t>(count) >
        meter_.limits().max_memory_bytes / std::max<size_t>(size * item_bytes, 1)) {
      meter_.charge(SIZE_MAX);
    }
  };
  if (what.is_string()) {
    check(1);
    TextBuilder out(meter_);
    for (int64_t i = 0; i < count; ++i) out.append(what.as_text());
    return out.finish();
  }
  check(sizeof(Value));
  std::vector<Value> items;
  const std::vector<Value>& original = what.sequence()->items;
  Charge charge(meter_, original.size() * static_cast<size_t>(count) * sizeof(Value));
  for (int64_t i = 0; i < count; ++i) items.insert(items.end(), original.begin(), original.end());
  return sequence(what.sequence()->form, std::move(items));
}

Value Runtime::join_sequences(const Sequence& a, const Sequence& b) {
  Charge charge(meter_, (a.items.size() + b.items.size()) * sizeof(Value));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return sequence(a.form, std::move(items));
}

Value Runtime::binary(BinaryOp op, const Value& a, const Value& b) {
  if (op == BinaryOp::concatenate) {
    TextBuilder out(meter_);
    print(out, a);
    print(out, b);
    return out.finish();
  }
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_number() && b.is_number()) return number_operation(*this, op, a, b);
  if (op == BinaryOp::add) {
    if (a.is_string() && b.is_string()) return binary(BinaryOp::concatenate, a, b);
    if (a.is_list_or_tuple() && b.is_list_or_tuple() && a.sequence()->form == b.sequence()->form) {
      return join_sequences(*a.sequence(), *b.sequence());
    }
  }
  if (op == BinaryOp::multiply) {
    if ((a.is_string() || a.is_list_or_tuple()) && b.is_int()) return repeat(a, b);
    if ((b.is_string() || b.is_list_or_tuple()) && a.is_int()) return repeat(b, a);
  }
  if (op == BinaryOp::modulo && a.is_string()) return format_percent(*this, a, b);
  fail(concat("operator ", symbol(op), " does not fit ", a.type_name(), " and ", b.type_name()));
}

Value Runtime::negate(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_number()) fail(concat("a value of type ", value.type_name(), " has no negative"));
  if (value.is_float()) return -value.as_float();
  return number_operation(*this, BinaryOp::subtract, int64_t{0}, value);
}

bool Runtime::equal(const Value& a, const Value& b) {
  meter_.step();
  if (a.is_number() && b.is_number()) {
    bool nan = (a.is_float() && a.as_float() != a.as_float()) ||
               (b.is_float() && b.as_float() != b.as_float());
    return !nan && !KeyLess()(a, b) && !KeyLess()(b, a);
  }
  if (a.is_undefined() || a.is_none()) return a.is_undefined() ? b.is_undefined() : b.is_none();
  if (a.is_string() && b.is_string()) {
    meter_.work(std::min(a.as_text().size(), b.as_text().size()));
    return a.as_view() == b.as_view();
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    if (x.entries.size() != y.entries.size()) return false;
    return std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
      const Value* other = find(y, entry.first);
      return other && equal(entry.second, *other);
    });
  }
  const Sequence *x = a.sequence(), *y = b.sequence();
  if (!x || !y || x->form != y->form || x->form == Sequence::Form::iterator) {
    return a.is_same_object(b);
  }
  return x->items.size() == y->items.size() &&
         std::equal(x->items.begin(), x->items.end(), y->items.begin(),
                    [&](const Value& u, const Value& v) { return equal(u, v); });
}

bool Runtime::less(const Value& a, const Value& b) {
  meter_.step();
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_number() && b.is_number()) return KeyLess()(a, b);
  if (a.is_string() && b.is_string()) {
    meter_.work(std::min(a.as_text().size(), b.as_text().size()));
    return a.as_view() < b.as_view();
  }
  const Sequence *x = a.sequence(), *y = b.sequence();
  if (!a.is_list_or_tuple() || !b.is_list_or_tuple() || x->form != y->form) {
    fail(concat("a ", a.type_name(), " and a ", b.type_name(), " have no order"));
  }
  for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
    if (!equal(x->items[i], y->items[i])) return less(x->items[i], y->items[i]);
  }
  return x->items.size() < y->items.size();
}

bool Runtime::compare(CompareOp op, const Value& a, const Value& b) {
  auto is_nan = [](const Value& v) { return v.is_float() && v.as_float() != v.as_float(); };
  switch (op) {
    case CompareOp::equal: return equal(a, b);
    case CompareOp::not_equal: return !equal(a, b);
    case CompareOp::in: return contains(b, a);
    case CompareOp::not_in: return !contains(b, a);
    default: break;
  }
  bool below = less(a, b);  // also where it is not needed: it fails for what has no order
  if (is_nan(a) || is_nan(b)) return false;
  switch (op) {
    case CompareOp::less: return below;
    case CompareOp::less_equal: return below || equal(a, b);
    case CompareOp::greater: return !below && !equal(a, b);
    default: return !below;
  }
}

bool Runtime::contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      fail(concat("'in' a string needs a string on its left, not a ", item.type_name()));
    }
    meter_.work(container.as_text().size());
    return find_text(container.as_view(), item.as_view()) != std::string_view::npos;
  }
  if (container.is_dict()) return find(container.as_dict(), item) != nullptr;
  std::shared_ptr<Sequence> items = iterate(container);
  return std::any_of(items->items.begin(), items->items.end(),
                     [&](const Value& candidate) { return equal(candidate, item); });
}

}  // namespace kvi::jinja
