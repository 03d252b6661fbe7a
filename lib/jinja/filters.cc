// The filters on single values: text, numbers, JSON, defaults; and the table of all filters.
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"
#include "jinja/sequence_filters.h"
#include "jinja/text_operations.h"

namespace kvi::jinja {
namespace {

constexpr int64_t kMaxIndent = 4096;  // spaces

// The text of value, which lives in storage.
const MarkedText& subject_text(Runtime& runtime, const Value& value, Value& storage) {
  return runtime.text_of(value, storage);
}

std::string spaces(Runtime& runtime, int64_t width) {
  if (width > kMaxIndent)
    runtime.meter().fail_limit(concat("an indent of more than ", kMaxIndent, " spaces"));
  return std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
}

Value filter_trim(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "trim", arguments, {"chars"});
  Value storage;
  return strip_text(runtime, subject_text(runtime, value, storage), Sides::both,
                    bound.get(0, None{}));
}

template <Case to>
Value filter_cased(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "upper/lower", arguments, {});
  Value storage;
  const MarkedText& text = subject_text(runtime, value, storage);
  TextBuilder out(runtime.meter());
  append_cased(out, text, 0, text.size(), to);
  return out.finish();
}

Value filter_capitalize(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "capitalize", arguments, {});
  Value storage;
  return capitalize_text(runtime, subject_text(runtime, value, storage));
}

// Words begin after whitespace and after any of -({[<.
Value filter_title(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "title", arguments, {});
  Value storage;
  const MarkedText& text = subject_text(runtime, value, storage);
  TextBuilder out(runtime.meter());
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    size_t next = next_code_point(text.view(), pos);
    std::string_view c = text.view().substr(pos, next - pos);
    Range word = strip(c, Sides::both, {});
    bool separates = word.begin == word.end ||
                     std::string_view("-({[<").find(c) != std::string_view::npos;
    append_cased(out, text, pos, next, in_word ? Case::lower : Case::upper);
    in_word = !separates;
    pos = next;
  }
  return out.finish();
}

Value filter_replace(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "replace", arguments, {"old", "new", "count"});
  Value text, from, to;
  const MarkedText& subject = runtime.text_of(value, text);
  const MarkedText& old = runtime.text_of(bound.required(0), from);
  int64_t count = bound.get(2, None{}).is_none() ? -1 : bound.get_int(2, -1);
  return replace_text(runtime, subject, old, runtime.text_of(bound.required(1), to), count);
}

Value filter_string(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "string", arguments, {});
  return runtime.to_string(value);
}

// Nothing here is ever escaped by itself, so a mark against escaping has no effect.
Value filter_safe(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return filter_string(runtime, value, arguments);
}

Value filter_escape(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "escape", arguments, {});
  Value storage;
  TextBuilder out(runtime.meter());
  subject_text(runtime, value, storage).for_each_run([&](std::string_view run, Origin origin) {
    size_t plain = 0;
    for (size_t pos = 0; (pos = run.find_first_of("&<>'\"", pos)) != std::string_view::npos;) {
      out.append(run.substr(plain, pos - plain), origin);
      char c = run[pos];
      out.append(c == '&'   ? "&amp;"
                 : c == '<' ? "&lt;"
                 : c == '>' ? "&gt;"
                 : c == '"' ? "&#34;"
                            : "&#39;",
                 origin);
      plain = ++pos;
    }
    out.append(run.substr(plain), origin);
  });
  return out.finish();
}

Value filter_indent(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "indent", arguments, {"width", "first", "blank"});
  if (!value.is_string()) runtime.fail(concat("indent takes a string, not a ", value.type_name()));
  Value width = bound.get(0, int64_t{4});
  MarkedText indent = width.is_string()
                          ? width.as_text()
                          : MarkedText(spaces(runtime, runtime.to_index(width, "a width")),
                                       Origin::from_template);
  bool blank = bound.get_bool(2, false);
  const MarkedText& text = value.as_text();
  runtime.meter().work(text.size());
  Charge charge(runtime.meter(), text.size() * sizeof(Range));
  std::vector<Range> lines = split_lines(text.view(), false);
  // As in Python, where a newline is added before lines are split: "" and "a\n" end in an empty line.
  if (text.empty() || lines.back().end < text.size()) lines.push_back({text.size(), text.size()});
  TextBuilder out(runtime.meter());
  if (bound.get_bool(1, false)) out.append(indent);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n", Origin::from_template);
    if (i > 0 && (blank || lines[i].begin < lines[i].end)) out.append(indent);
    out.append_slice(text, lines[i].begin, lines[i].end);
  }
  return out.finish();
}

Value filter_default(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "default", arguments, {"default_value", "boolean"});
  bool missing = value.is_undefined() || (bound.get_bool(1, false) && !value.truthy());
  if (!missing) return value;
  return bound.find(0) ? bound.required(0) : runtime.string("", Origin::from_template);
}

std::string_view number_text(const MarkedText& text) {
  Range kept = strip(text.view(), Sides::both, {});
  std::string_view digits = text.view().substr(kept.begin, kept.end - kept.begin);
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  return digits;
}

std::optional<double> parse_float(Runtime& runtime, const MarkedText& text) {
  runtime.meter().work(text.size());
  std::string_view digits = number_text(text);
  double number = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    runtime.fail_unsupported("a number beyond the range of a double");
  }
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> parse_int(Runtime& runtime, const MarkedText& text, int64_t base) {
  runtime.meter().work(text.size());
  std::string_view digits = number_text(text);
  bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  if (digits.size() > 2 && digits[0] == '0') {
    char letter = static_cast<char>(digits[1] | 0x20);
    int64_t named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (named != 0 && (base == named || base == 0)) {
      digits.remove_prefix(2);
      base = named;
    }
  }
  if (base == 0) base = 10;
  if (base < 2 || base > 36) runtime.fail("the base of int is not between 2 and 36");
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  std::string signed_digits = concat(negative ? "-" : "", digits);
  int64_t number = 0;
  const char* last = signed_digits.data() + signed_digits.size();
  auto [end, error] = std::from_chars(signed_digits.data(), last, number, static_cast<int>(base));
  if (end != last) return std::nullopt;
  if (error == std::errc::result_out_of_range)
    runtime.fail_unsupported("an integer beyond 64 bits");
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> truncated(Runtime& runtime, double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (!(std::fabs(number) < 9.2e18)) runtime.fail_unsupported("an integer beyond 64 bits");
  return static_cast<int64_t>(number);
}

Value filter_int(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "int", arguments, {"default", "base"});
  if (value.is_undefined()) runtime.fail("an undefined value is no integer");
  if (value.is_int()) return value.as_int();
  std::optional<int64_t> number;
  if (value.is_float()) number = truncated(runtime, value.as_float());
  if (value.is_string()) {
    number = parse_int(runtime, value.as_text(), bound.get_int(1, 10));
    if (!number) {
      if (auto real = parse_float(runtime, value.as_text())) number = truncated(runtime, *real);
    }
  }
  return number ? Value(*number) : bound.get(0, int64_t{0});
}

Value filter_float(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "float", arguments, {"default"});
  if (value.is_undefined()) runtime.fail("an undefined value is no number");
  if (value.is_number()) return value.as_float();
  if (value.is_string()) {
    if (auto number = parse_float(runtime, value.as_text())) return *number;
  }
  return bound.get(0, 0.0);
}

Value filter_abs(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "abs", arguments, {});
  if (!value.is_number()) runtime.fail(concat("abs takes a number, not a ", value.type_name()));
  if (value.is_float()) return std::fabs(value.as_float());
  return value.as_int() < 0 ? runtime.negate(value) : Value(value.as_int());
}

// To the nearest decimal, ties by the exact binary value, as Python's round().
double round_to(double number, int64_t precision) {
  if (!std::isfinite(number) || precision > 308) return number;
  if (precision < 0) {
    double scale = std::pow(10.0, static_cast<double>(std::min<int64_t>(-precision, 400)));
    return std::isinf(scale) ? 0 * number : std::nearbyint(number / scale) * scale;
  }
  char digits[700];
  auto end = std::to_chars(digits, digits + sizeof digits, number, std::chars_format::fixed,
                           static_cast<int>(precision))
                 .ptr;
  double rounded = number;
  std::from_chars(digits, end, rounded);
  return rounded;
}

Value filter_round(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "round", arguments, {"precision", "method"});
  if (!value.is_number()) runtime.fail(concat("round takes a number, not a ", value.type_name()));
  int64_t precision = bound.get_int(0, 0);
  std::string_view method = "common";
  if (const Value* given = bound.find(1); given && given->is_string()) method = given->as_view();
  if (method == "common") {
    if (value.is_int() && precision >= 0) return value.as_int();
    double rounded = round_to(value.as_float(), precision);
    return value.is_int() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
  }
  if (method != "ceil" && method != "floor")
    runtime.fail("round's method is common, ceil or floor");
  double scale = std::pow(10.0, static_cast<double>(precision));
  double scaled = value.as_float() * scale;
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

Value filter_tojson(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "tojson", arguments,
                       {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii_only = bound.get_bool(0, false);
  style.sort_keys = bound.get_bool(3, false);
  if (Value indent = bound.get(1, None{}); !indent.is_none()) {
    style.indent = indent.is_string() ? std::string(indent.as_view())
                                      : spaces(runtime, runtime.to_index(indent, "an indent"));
    style.item_separator.pop_back();
  }
  if (Value separators = bound.get(2, None{}); !separators.is_none()) {
    auto pair = runtime.iterate(separators);
    if (pair->items.size() != 2 || !pair->items[0].is_string() || !pair->items[1].is_string()) {
      runtime.fail("tojson's separators are two strings");
    }
    style.item_separator = std::string(pair->items[0].as_view());
    style.key_separator = std::string(pair->items[1].as_view());
  }
  TextBuilder out(runtime.meter());
  print_json(out, value, style);
  return out.finish();
}

Value filter_format(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!value.is_string()) runtime.fail("format takes a string");
  if (arguments.named.empty()) {
    return format_percent(runtime, value, runtime.tuple(arguments.positional));
  }
  if (!arguments.positional.empty()) runtime.fail("format takes arguments with names or without");
  auto dict = runtime.new_dict();
  for (const auto& [name, argument] : arguments.named) {
    runtime.put(*dict, runtime.string(name, Origin::from_template), argument);
  }
  return format_percent(runtime, value, std::shared_ptr<const Dict>(dict));
}

Value filter_attr(Runtime& runtime, const Value& value, const Arguments& arguments) {
  BoundArguments bound(runtime, "attr", arguments, {"name"});
  const Value& name = bound.required(0);
  if (!name.is_string()) runtime.fail("attr takes a name");
  // Attributes only: the elements of a dict are none.
  if (value.is_dict() && !find_method(value, name.as_view())) return Undefined{};
  return runtime.attribute(value, name.as_view());
}

constexpr Method kFilters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", filter_capitalize},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"format", filter_format},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_cased<Case::lower>},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", filter_cased<Case::upper>},
};

}  // namespace

const Method* find_filter(std::string_view name) { return find_sorted(kFilters, name); }

}  // namespace kvi::jinja
