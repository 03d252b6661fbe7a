// The methods of strings, dicts and lists, and the fields of `loop`.
#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "jinja/builtins.h"
#include "jinja/print.h"
#include "jinja/text_operations.h"

namespace kvi::jinja {
namespace {

const Value& string_argument(Runtime& runtime, const BoundArguments& bound, size_t parameter) {
  const Value& value = bound.required(parameter);
  if (!value.is_string()) runtime.fail(concat("a string is needed, not a ", value.type_name()));
  return value;
}

template <Sides sides>
Value str_strip(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "strip", arguments, {"chars"});
  return strip_text(runtime, self.as_text(), sides, bound.get(0, None{}));
}

template <Sides from>
Value str_split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "split", arguments, {"sep", "maxsplit"});
  const MarkedText& text = self.as_text();
  std::optional<std::string_view> separator;
  if (Value value = bound.get(0, None{}); !value.is_none()) {
    separator = string_argument(runtime, bound, 0).as_view();
    if (separator->empty()) runtime.fail("an empty separator cannot split");
  }
  runtime.meter().work(text.size() * (1 + (separator ? separator->size() / 64 : 0)));
  Charge charge(
      runtime.meter(),
      text.size() / std::max<size_t>(separator ? separator->size() : 2, 1) * sizeof(Range));
  std::vector<Value> parts;
  for (Range part : split(text.view(), separator, bound.get_int(1, -1), from)) {
    parts.push_back(runtime.slice_of(text, part.begin, part.end));
  }
  return runtime.list(std::move(parts));
}

Value str_splitlines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "splitlines", arguments, {"keepends"});
  const MarkedText& text = self.as_text();
  runtime.meter().work(text.size());
  Charge charge(runtime.meter(), text.size() * sizeof(Range));
  std::vector<Value> lines;
  for (Range line : split_lines(text.view(), bound.get_bool(0, false))) {
    lines.push_back(runtime.slice_of(text, line.begin, line.end));
  }
  return runtime.list(std::move(lines));
}

// The part of text that [start:end] arguments from parameter 1 on select; nullopt where start lies
// behind the end, where not even "" is found.
std::optional<Range> selected_range(Runtime& runtime, std::string_view text,
                                    const BoundArguments& bound) {
  if (!bound.find(1) && !bound.find(2)) return Range{0, text.size()};
  runtime.meter().work(text.size());
  int64_t size = static_cast<int64_t>(count_code_points(text));
  auto offset = [&](int64_t index) {
    if (index < 0) index = std::max<int64_t>(index < -size ? 0 : index + size, 0);
    return code_point_offset(text, static_cast<size_t>(std::min(index, size)));
  };
  int64_t start = bound.get(1, None{}).is_none() ? 0 : bound.get_int(1, 0);
  int64_t end = bound.get(2, None{}).is_none() ? size : bound.get_int(2, size);
  if (start > size) return std::nullopt;
  Range range{offset(start), offset(end)};
  return range.begin <= range.end ? std::optional(range) : std::nullopt;
}

template <bool at_start>
Value str_has_affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, at_start ? "startswith" : "endswith", arguments,
                       {"prefix", "start", "end"});
  auto range = selected_range(runtime, self.as_view(), bound);
  if (!range) return false;
  std::string_view text = self.as_view().substr(range->begin, range->end - range->begin);
  auto matches = [&](const Value& affix) {
    if (!affix.is_string())
      runtime.fail("startswith and endswith take a string or a tuple of strings");
    runtime.meter().work(affix.as_text().size());
    return at_start ? text.starts_with(affix.as_view()) : text.ends_with(affix.as_view());
  };
  const Value& affixes = bound.required(0);
  if (const Sequence* tuple = affixes.sequence(); tuple && tuple->form == Sequence::Form::tuple) {
    return std::any_of(tuple->items.begin(), tuple->items.end(), matches);
  }
  return matches(affixes);
}

enum class Search { find, rfind, index, rindex };

template <Search search>
Value str_find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "find", arguments, {"sub", "start", "end"});
  std::string_view pattern = string_argument(runtime, bound, 0).as_view();
  std::string_view text = self.as_view();
  runtime.meter().work(text.size() * (1 + pattern.size() / 64));
  auto range = selected_range(runtime, text, bound);
  size_t found = std::string_view::npos;
  if (range) {
    std::string_view part = text.substr(range->begin, range->end - range->begin);
    bool from_right = search == Search::rfind || search == Search::rindex;
    found = from_right ? part.rfind(pattern) : find_text(part, pattern);
  }
  if (found != std::string_view::npos) {
    return static_cast<int64_t>(count_code_points(text.substr(0, range->begin + found)));
  }
  if (search == Search::index || search == Search::rindex) runtime.fail("substring not found");
  return int64_t{-1};
}

Value str_count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "count", arguments, {"sub", "start", "end"});
  std::string_view pattern = string_argument(runtime, bound, 0).as_view();
  runtime.meter().work(self.as_text().size());
  auto range = selected_range(runtime, self.as_view(), bound);
  if (!range) return int64_t{0};
  std::string_view text = self.as_view().substr(range->begin, range->end - range->begin);
  if (pattern.empty()) return static_cast<int64_t>(count_code_points(text)) + 1;
  int64_t count = 0;
  for (size_t pos = 0; (pos = find_text(text, pattern, pos)) != std::string_view::npos; ++count) {
    pos += pattern.size();
  }
  return count;
}

Value str_replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "replace", arguments, {"old", "new", "count"});
  return replace_text(runtime, self.as_text(), string_argument(runtime, bound, 0).as_text(),
                      string_argument(runtime, bound, 1).as_text(), bound.get_int(2, -1));
}

template <Case to>
Value str_cased(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "upper/lower", arguments, {});
  TextBuilder out(runtime.meter());
  append_cased(out, self.as_text(), 0, self.as_text().size(), to);
  return out.finish();
}

Value str_capitalize(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "capitalize", arguments, {});
  return capitalize_text(runtime, self.as_text());
}

// A capital after everything that has no case.
Value str_title(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "title", arguments, {});
  const MarkedText& text = self.as_text();
  TextBuilder out(runtime.meter());
  bool after_cased = false;
  for (size_t pos = 0; pos < text.size();) {
    size_t next = next_code_point(text.view(), pos);
    append_cased(out, text, pos, next, after_cased ? Case::lower : Case::title);
    std::string_view c = text.view().substr(pos, next - pos);
    after_cased = is_upper(c) || is_lower(c);
    pos = next;
  }
  return out.finish();
}

Value str_join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "join", arguments, {"iterable"});
  auto items = runtime.iterate(bound.required(0));
  for (const Value& item : items->items) {
    if (!item.is_string()) runtime.fail(concat("join takes strings, not a ", item.type_name()));
  }
  return join_text(runtime, self.as_text(), items->items);
}

template <bool prefix>
Value str_remove_affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, prefix ? "removeprefix" : "removesuffix", arguments, {"affix"});
  std::string_view affix = string_argument(runtime, bound, 0).as_view();
  const MarkedText& text = self.as_text();
  bool there = prefix ? text.view().starts_with(affix) : text.view().ends_with(affix);
  if (!there) return self;
  return prefix ? runtime.slice_of(text, affix.size(), text.size())
                : runtime.slice_of(text, 0, text.size() - affix.size());
}

template <bool from_right>
Value str_partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "partition", arguments, {"sep"});
  std::string_view separator = string_argument(runtime, bound, 0).as_view();
  if (separator.empty()) runtime.fail("an empty separator cannot split");
  const MarkedText& text = self.as_text();
  runtime.meter().work(text.size() * (1 + separator.size() / 64));
  size_t found = from_right ? text.view().rfind(separator) : find_text(text.view(), separator);
  bool there = found != std::string_view::npos;
  size_t begin = there ? found : from_right ? 0 : text.size();
  size_t end = there ? found + separator.size() : begin;
  return runtime.tuple({runtime.slice_of(text, 0, begin), runtime.slice_of(text, begin, end),
                        runtime.slice_of(text, end, text.size())});
}

Value str_is_digit(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "isdigit", arguments, {});
  runtime.meter().work(self.as_text().size());
  return !self.as_text().empty() &&
         self.as_view().find_first_not_of("0123456789") == std::string_view::npos;
}

Value str_is_space(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "isspace", arguments, {});
  runtime.meter().work(self.as_text().size());
  Range rest = strip(self.as_view(), Sides::left, {});
  return !self.as_text().empty() && rest.begin == rest.end;
}

template <Case what>
Value str_is_case(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "isupper/islower", arguments, {});
  runtime.meter().work(self.as_text().size() * 128);
  return what == Case::upper ? is_upper(self.as_view()) : is_lower(self.as_view());
}

Value dict_get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "get", arguments, {"key", "default"});
  const Value* found = runtime.find(self.as_dict(), bound.required(0));
  return found ? *found : bound.get(1, None{});
}

enum class Part { keys, values, items };

template <Part part>
Value dict_view(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "items/keys/values", arguments, {});
  std::vector<Value> parts;
  for (const auto& [key, value] : self.as_dict().entries) {
    parts.push_back(part == Part::keys     ? key
                    : part == Part::values ? value
                                           : runtime.tuple({key, value}));
  }
  const char* label = part == Part::keys     ? "dict_keys"
                      : part == Part::values ? "dict_values"
                                             : "dict_items";
  return runtime.sequence(Sequence::Form::view, std::move(parts), label);
}

Value dict_copy(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "copy", arguments, {});
  return self;  // nothing can change either
}

Value list_index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "index", arguments, {"value"});
  const std::vector<Value>& items = self.sequence()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (runtime.equal(items[i], bound.required(0))) return static_cast<int64_t>(i);
  }
  runtime.fail("the value is not in the list");
}

Value list_count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  BoundArguments bound(runtime, "count", arguments, {"value"});
  int64_t count = 0;
  for (const Value& item : self.sequence()->items) count += runtime.equal(item, bound.required(0));
  return count;
}

Value loop_cycle(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) runtime.fail("cycle() needs items");
  return arguments.positional[self.loop()->index0 % arguments.positional.size()];
}

constexpr Method kStringMethods[] = {
    {"capitalize", str_capitalize},
    {"count", str_count},
    {"endswith", str_has_affix<false>},
    {"find", str_find<Search::find>},
    {"format", format_braces},
    {"index", str_find<Search::index>},
    {"isdigit", str_is_digit},
    {"islower", str_is_case<Case::lower>},
    {"isspace", str_is_space},
    {"isupper", str_is_case<Case::upper>},
    {"join", str_join},
    {"lower", str_cased<Case::lower>},
    {"lstrip", str_strip<Sides::left>},
    {"partition", str_partition<false>},
    {"removeprefix", str_remove_affix<true>},
    {"removesuffix", str_remove_affix<false>},
    {"replace", str_replace},
    {"rfind", str_find<Search::rfind>},
    {"rindex", str_find<Search::rindex>},
    {"rpartition", str_partition<true>},
    {"rsplit", str_split<Sides::right>},
    {"rstrip", str_strip<Sides::right>},
    {"split", str_split<Sides::left>},
    {"splitlines", str_splitlines},
    {"startswith", str_has_affix<true>},
    {"strip", str_strip<Sides::both>},
    {"title", str_title},
    {"upper", str_cased<Case::upper>},
};

constexpr Method kDictMethods[] = {
    {"copy", dict_copy},
    {"get", dict_get},
    {"items", dict_view<Part::items>},
    {"keys", dict_view<Part::keys>},
    {"values", dict_view<Part::values>},
};

constexpr Method kListMethods[] = {
    {"count", list_count},
    {"index", list_index},
};

constexpr Method kLoopMethods[] = {{"cycle", loop_cycle}};

}  // namespace

const Method* find_method(const Value& object, std::string_view name) {
  if (object.is_string()) return find_sorted(kStringMethods, name);
  if (object.is_dict()) return find_sorted(kDictMethods, name);
  if (object.is_list_or_tuple()) return find_sorted(kListMethods, name);
  if (object.loop()) return find_sorted(kLoopMethods, name);
  return nullptr;
}

std::optional<Value> loop_field(const Value& value, std::string_view name) {
  const Loop& loop = *value.loop();
  const std::vector<Value>& items = loop.items->items;
  int64_t index0 = static_cast<int64_t>(loop.index0), length = static_cast<int64_t>(items.size());
  if (name == "index") return index0 + 1;
  if (name == "index0") return index0;
  if (name == "first") return index0 == 0;
  if (name == "last") return index0 + 1 == length;
  if (name == "length") return length;
  if (name == "revindex") return length - index0;
  if (name == "revindex0") return length - index0 - 1;
  if (name == "previtem")
    return index0 > 0 ? items[loop.index0 - 1] : Value(Undefined{"loop.previtem"});
  if (name == "nextitem")
    return index0 + 1 < length ? items[loop.index0 + 1] : Value(Undefined{"loop.nextitem"});
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  return std::nullopt;
}

}  // namespace kvi::jinja
