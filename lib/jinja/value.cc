#include "jinja/value.h"

#include <algorithm>
#include <cmath>
#include <compare>

namespace kvi::jinja {

const MarkedText& Value::as_text() const {
  return std::get<std::shared_ptr<const StringObject>>(data_)->text;
}

Namespace* Value::as_namespace() const {
  Namespace* const* pointer = std::get_if<Namespace*>(&data_);
  return pointer ? *pointer : nullptr;
}

bool Value::is_list_or_tuple() const {
  const Sequence* items = sequence();
  return items && (items->form == Sequence::Form::list || items->form == Sequence::Form::tuple);
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_float()) return as_float() != 0;
  if (is_int()) return as_int() != 0;
  if (is_string()) return !as_text().empty();
  if (is_dict()) return !as_dict().entries.empty();
  if (const Sequence* items = sequence()) {
    return items->form == Sequence::Form::iterator || !items->items.empty();
  }
  return true;
}

int Value::depth() const {
  if (is_dict()) return as_dict().depth;
  if (const Sequence* items = sequence()) return items->depth;
  if (const Loop* state = loop()) return state->items->depth + 1;
  if (const Function* callee = function()) return callee->receiver.depth() + 1;
  return 0;
}

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_dict()) return "dict";
  if (const Sequence* items = sequence()) {
    switch (items->form) {
      case Sequence::Form::list: return "list";
      case Sequence::Form::tuple: return "tuple";
      case Sequence::Form::range: return "range";
      case Sequence::Form::view: return "dict view";
      case Sequence::Form::iterator: return "generator";
    }
  }
  if (as_namespace()) return "Namespace";
  if (loop()) return "LoopContext";
  return "function";
}

bool Value::is_same_object(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(
      [&](const auto& mine) {
        using T = std::decay_t<decltype(mine)>;
        const T& theirs = std::get<T>(other.data_);
        if constexpr (std::is_same_v<T, None>) {
          return true;
        } else if constexpr (std::is_same_v<T, Undefined>) {
          return false;
        } else {
          return mine == theirs;
        }
      },
      data_);
}

namespace {

int key_rank(const Value& key) {
  if (key.is_undefined()) return 0;
  if (key.is_none()) return 1;
  if (key.is_number()) return 2;
  if (key.is_string()) return 3;
  return key.sequence() ? 4 : 5;
}

// Total, with NaN first. long double holds every int64_t and every double.
std::strong_ordering order_numbers(const Value& a, const Value& b) {
  auto wide = [](const Value& v) {
    return v.is_int() ? static_cast<long double>(v.as_int())
                      : static_cast<long double>(v.as_float());
  };
  long double x = wide(a), y = wide(b);
  if (std::isnan(x) || std::isnan(y)) return std::isnan(y) <=> std::isnan(x);
  return x < y   ? std::strong_ordering::less
         : x > y ? std::strong_ordering::greater
                 : std::strong_ordering::equal;
}

std::strong_ordering order_keys(const Value& a, const Value& b) {
  int rank = key_rank(a);
  if (rank != key_rank(b)) return rank <=> key_rank(b);
  switch (rank) {
    case 0:
    case 1: return std::strong_ordering::equal;
    case 2: return order_numbers(a, b);
    case 3: return a.as_view() <=> b.as_view();
    case 4: {
      const auto& x = a.sequence()->items;
      const auto& y = b.sequence()->items;
      for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
        if (auto order = order_keys(x[i], y[i]); order != 0) return order;
      }
      return x.size() <=> y.size();
    }
    default: {
      auto address = [](const Value& v) {
        return v.loop() ? reinterpret_cast<uintptr_t>(v.loop())
                        : reinterpret_cast<uintptr_t>(v.function());
      };
      return address(a) <=> address(b);
    }
  }
}

}  // namespace

bool KeyLess::operator()(const Value& a, const Value& b) const { return order_keys(a, b) < 0; }

}  // namespace kvi::jinja
