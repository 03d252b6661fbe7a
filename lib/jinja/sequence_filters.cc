#include "jinja/sequence_filters.h"

#include <algorithm>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/text_operations.h"

namespace kvi::jinja {
namespace {

// What sorting and comparing look at: a part of the item, in lower case unless case counts.
class KeyOf {
 public:
  KeyOf(Runtime& runtime, Value attribute, bool case_sensitive)
      : runtime_(runtime), attribute_(std::move(attribute)), case_sensitive_(case_sensitive) {}

  Value operator()(const Value& item) const {
    Value key = attribute_.is_none() ? item : runtime_.path(item, attribute_);
    if (case_sensitive_ || !key.is_string()) return key;
    TextBuilder out(runtime_.meter());
    append_cased(out, key.as_text(), 0, key.as_text().size(), Case::lower);
    return out.finish();
  }

 private:
  Runtime& runtime_;
  Value attribute_;  // none: the item itself
  bool case_sensitive_;
};

using Keyed = std::pair<Value, Value>;  // the key, the item

// Stable. Elements with NaN sort first, so that the order is one whatever the template brings.
std::vector<Value> sorted(Runtime& runtime, std::vector<Keyed> items, bool reverse) {
  Charge charge(runtime.meter(), items.size() * 2 * sizeof(Keyed));
  auto less = [&](const Keyed& a, const Keyed& b) { return runtime.less(a.first, b.first); };
  auto greater = [&](const Keyed& a, const Keyed& b) { return runtime.less(b.first, a.first); };
  if (reverse) {
    std::stable_sort(items.begin(), items.end(), greater);
  } else {
    std::stable_sort(items.begin(), items.end(), less);
  }
  std::vector<Value> values;
  for (Keyed& item : items) values.push_back(std::move(item.second));
  return values;
}

// The test that select and its kin name in their arguments, from parameter `first` on.
class NamedTest {
 public:
  NamedTest(Runtime& runtime, const Arguments& arguments, size_t first) : runtime_(runtime) {
    if (arguments.positional.size() <= first) return;
    const Value& name = arguments.positional[first];
    const Method* found = name.is_string() ? find_test(name.as_view()) : nullptr;
    if (!found) runtime.fail("there is no test of this name");
    test_ = found->call;
    rest_.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(first) + 1,
                            arguments.positional.end());
    rest_.named = arguments.named;
  }

  bool holds(const Value& value) const {
    return test_ ? test_(runtime_, value, rest_).truthy() : value.truthy();
  }

 private:
  Runtime& runtime_;
  Native test_ = nullptr;  // null: truth itself
  Arguments rest_;
};

Value choose(Runtime& runtime, const Value& value, const Arguments& arguments, bool by_attribute,
             bool wanted) {
  if (by_attribute && arguments.positional.empty())
    runtime.fail("the name of an attribute is missing");
  std::vector<Value> chosen;
  if (value.truthy()) {
    NamedTest test(runtime, arguments, by_attribute ? 1 : 0);
    auto source = runtime.iterate(value);
    for (const Value& item : source->items) {
      runtime.meter().step();
      Value looked_at = by_attribute ? runtime.path(item, arguments.positional[0]) : item;
      if (test.holds(looked_at) == wanted) chosen.push_back(item);
    }
  }
  return runtime.iterator(std::move(chosen));
}

Value extreme(Runtime& runtime, const Value& value, const Arguments& arguments, bool largest) {
  BoundArguments bound(runtime, largest ? "max" : "min", arguments,
                       {"case_sensitive", "attribute"});
  KeyOf key_of(runtime, bound.get(1, None{}), bound.get_bool(0, false));
  auto items = runtime.iterate(value);
  if (items->items.empty()) return Undefined{};
  Value best = items->items[0];
  Value best_key = key_of(best);
  for (size_t i = 1; i < items->items.size(); ++i) {
    Value key = key_of(items->items[i]);
    if (largest ? runtime.less(best_key, key) : runtime.less(key, best_key)) {
      best = items->items[i];
      best_key = key;
    }
  }
  return best;
}

}  // namespace

Value filter_length(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "length", arguments, {});
  auto length = runtime.length(value);
  if (!length) runtime.fail(concat("a value of type ", value.type_name(), " has no length"));
  return static_cast<int64_t>(*length);
}

Value filter_list(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "list", arguments, {});
  return runtime.list(runtime.iterate(value)->items);
}

Value filter_first(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "first", arguments, {});
  if (Sequence* items = value.sequence(); items && items->form == Sequence::Form::iterator) {
    if (items->next == items->items.size()) return Undefined{};
    return items->items[items->next++];
  }
  if (value.is_string()) return runtime.element(value, int64_t{0});
  auto items = runtime.iterate(value);
  return items->items.empty() ? Value(Undefined{}) : items->items.front();
}

Value filter_last(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "last", arguments, {});
  if (Sequence* items = value.sequence(); items && items->form == Sequence::Form::iterator) {
    runtime.fail("a generator cannot be read from its end; make it a list first");
  }
  if (value.is_string()) return runtime.element(value, int64_t{-1});
  auto items = runtime.iterate(value);
  return items->items.empty() ? Value(Undefined{}) : items->items.back();
}

Value filter_reverse(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "reverse", arguments, {});
  if (value.is_string()) return runtime.slice(value, None{}, None{}, int64_t{-1});
  auto items = runtime.iterate(value);
  bool was_iterator = value.sequence() && value.sequence()->form == Sequence::Form::iterator;
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  return was_iterator ? runtime.list(std::move(reversed)) : runtime.iterator(std::move(reversed));
}

Value filter_items(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "items", arguments, {});
  std::vector<Value> pairs;
  if (!value.is_undefined()) {
    if (!value.is_dict()) runtime.fail(concat("items takes a mapping, not a ", value.type_name()));
    for (const auto& [key, entry] : value.as_dict().entries)
      pairs.push_back(runtime.tuple({key, entry}));
  }
  return runtime.iterator(std::move(pairs));
}

Value filter_join(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "join", arguments, {"d", "attribute"});
  auto items = runtime.iterate(value);
  std::vector<Value> parts = items->items;
  if (Value attribute = bound.get(1, None{}); !attribute.is_none()) {
    for (Value& part : parts) part = runtime.path(part, attribute);
  }
  Value separator = bound.find(0) ? runtime.to_string(bound.required(0))
                                  : runtime.string("", Origin::from_template);
  return join_text(runtime, separator.as_text(), parts);
}

Value filter_map(Runtime& runtime, const Value& value, const Arguments& arguments) {
  std::vector<Value> mapped;
  if (!value.truthy()) return runtime.iterator(std::move(mapped));
  if (arguments.positional.empty()) {
    BoundArguments bound(runtime, "map", arguments, {"attribute", "default"});
    const Value& attribute = bound.required(0);
    Value fallback = bound.get(1, None{});
    auto source = runtime.iterate(value);
    for (const Value& item : source->items) {
      Value part = runtime.path(item, attribute);
      mapped.push_back(part.is_undefined() && !fallback.is_none() ? fallback : part);
    }
    return runtime.iterator(std::move(mapped));
  }
  const Value& name = arguments.positional[0];
  const Method* filter = name.is_string() ? find_filter(name.as_view()) : nullptr;
  if (!filter) runtime.fail("there is no filter of this name");
  DepthGuard guard(runtime.meter());  // map('map', ...) nests
  Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  auto source = runtime.iterate(value);
  for (const Value& item : source->items) {
    mapped.push_back(filter->call(runtime, item, rest));
  }
  return runtime.iterator(std::move(mapped));
}

Value filter_select(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return choose(runtime, value, arguments, false, true);
}
Value filter_reject(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return choose(runtime, value, arguments, false, false);
}
Value filter_selectattr(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return choose(runtime, value, arguments, true, true);
}
Value filter_rejectattr(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return choose(runtime, value, arguments, true, false);
}

Value filter_min(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return extreme(runtime, value, arguments, false);
}
Value filter_max(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return extreme(runtime, value, arguments, true);
}

Value filter_sum(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "sum", arguments, {"attribute", "start"});
  Value total = bound.get(1, int64_t{0});
  if (total.is_string()) runtime.fail("sum takes no strings; use join");
  Value attribute = bound.get(0, None{});
  auto source = runtime.iterate(value);
  for (const Value& item : source->items) {
    total = runtime.binary(BinaryOp::add, total,
                           attribute.is_none() ? item : runtime.path(item, attribute));
  }
  return total;
}

Value filter_sort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  Value attribute = bound.get(2, None{});
  if (attribute.is_string() && attribute.as_view().find(',') != std::string_view::npos) {
    runtime.fail_unsupported("sorting by several attributes");
  }
  KeyOf key_of(runtime, attribute, bound.get_bool(1, false));
  std::vector<Keyed> items;
  auto source = runtime.iterate(value);
  for (const Value& item : source->items) items.emplace_back(key_of(item), item);
  return runtime.list(sorted(runtime, std::move(items), bound.get_bool(0, false)));
}

Value filter_dictsort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (!value.is_dict()) runtime.fail(concat("dictsort takes a mapping, not a ", value.type_name()));
  bool by_value = false;
  if (const Value* by = bound.find(1)) {
    by_value = by->is_string() && by->as_view() == "value";
    if (!by_value && !(by->is_string() && by->as_view() == "key")) {
      runtime.fail("dictsort sorts by 'key' or 'value'");
    }
  }
  KeyOf key_of(runtime, None{}, bound.get_bool(0, false));
  std::vector<Keyed> items;
  for (const auto& [key, entry] : value.as_dict().entries) {
    items.emplace_back(key_of(by_value ? entry : key), runtime.tuple({key, entry}));
  }
  return runtime.list(sorted(runtime, std::move(items), bound.get_bool(2, false)));
}

Value filter_unique(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "unique", arguments, {"case_sensitive", "attribute"});
  KeyOf key_of(runtime, bound.get(1, None{}), bound.get_bool(0, false));
  auto seen = runtime.new_dict();
  std::vector<Value> kept;
  auto source = runtime.iterate(value);
  for (const Value& item : source->items) {
    Value key = key_of(item);
    if (runtime.find(*seen, key)) continue;
    runtime.put(*seen, key, None{});
    kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

Value filter_batch(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "batch", arguments, {"linecount", "fill_with"});
  int64_t size = bound.get_int(0, 0);
  if (size < 1) runtime.fail("batch needs a size of at least 1");
  if (bound.find(1)) runtime.fail_unsupported("batch with fill_with");
  std::vector<Value> batches, batch;
  auto source = runtime.iterate(value);
  for (const Value& item : source->items) {
    if (static_cast<int64_t>(batch.size()) == size)
      batches.push_back(runtime.list(std::exchange(batch, {})));
    batch.push_back(item);
  }
  if (!batch.empty()) batches.push_back(runtime.list(std::move(batch)));
  return runtime.iterator(std::move(batches));
}

}  // namespace kvi::jinja
