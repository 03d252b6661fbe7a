#include "jinja/print.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>

#include "base/text.h"
#include "base/utf8.h"
#include "jinja/strings.h"

namespace kvi::jinja {

std::string float_to_string(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  char* end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific)
                  .ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string sign = text.front() == '-' ? "-" : "";
  text.remove_prefix(sign.size());
  size_t e = text.find('e');
  int exponent = 0;
  const char* digits_begin = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_begin, end, exponent);
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);

  int num_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (num_digits > 1) digits = concat(digits[0], ".", std::string_view(digits).substr(1));
    int magnitude = std::abs(exponent);
    return concat(sign, digits, exponent < 0 ? "e-" : "e+", magnitude < 10 ? "0" : "", magnitude);
  }
  if (exponent < 0)
    return concat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  if (num_digits <= exponent + 1) {
    return concat(sign, digits, std::string(static_cast<size_t>(exponent + 1 - num_digits), '0'),
                  ".0");
  }
  size_t whole = static_cast<size_t>(exponent) + 1;
  return concat(sign, std::string_view(digits).substr(0, whole), ".",
                std::string_view(digits).substr(whole));
}

namespace {

void append_own(TextBuilder& out, std::string_view text) {
  out.append(text, Origin::from_template);
}

// Formats, separators and spaces that repr() escapes. Unassigned code points are left as they are.
bool is_unprintable(char32_t c) {
  struct Span {
    char32_t first, last;
  };
  static constexpr Span kSpans[] = {
      {0x7f, 0xa0},       {0xad, 0xad},       {0x600, 0x605},     {0x61c, 0x61c},
      {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},     {0x8e2, 0x8e2},
      {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},   {0x2028, 0x202f},
      {0x205f, 0x206f},   {0x3000, 0x3000},   {0xe000, 0xf8ff},   {0xfeff, 0xfeff},
      {0xfff0, 0xfffb},   {0xfffe, 0xffff},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd},
      {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe00ff}, {0xf0000, 0x10ffff}};
  return c < 0x20 || std::any_of(std::begin(kSpans), std::end(kSpans), [c](const Span& span) {
           return c >= span.first && c <= span.last;
         });
}

std::string hex_escape(const char* format, char32_t c) {
  char text[16];
  std::snprintf(text, sizeof text, format, static_cast<unsigned>(c));
  return text;
}

// What stands for a code point inside quotes; empty: itself.
std::string repr_escape(char32_t c, char32_t quote) {
  if (c == '\\') return "\\\\";
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (c == quote) return quote == '\'' ? "\\'" : "\\\"";
  if (!is_unprintable(c)) return "";
  return hex_escape(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

std::string json_escape(char32_t c, bool ascii_only) {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\b': return "\\b";
    case '\f': return "\\f";
  }
  if (c < 0x20) return hex_escape("\\u%04x", c);
  if (c < 0x80 || !ascii_only) return "";
  if (c < 0x10000) return hex_escape("\\u%04x", c);
  return hex_escape("\\u%04x", 0xd800 + ((c - 0x10000) >> 10)) +
         hex_escape("\\u%04x", 0xdc00 + ((c - 0x10000) & 0x3ff));
}

template <typename Escape>
void print_escaped(TextBuilder& out, const MarkedText& text, const Escape& escape) {
  text.for_each_run([&](std::string_view run, Origin origin) {
    size_t plain = 0;  // what is before it is printed
    for (size_t pos = 0; pos < run.size();) {
      CodePoint c = decode_utf8(run, pos);
      std::string escaped = escape(c.value);
      size_t next = pos + static_cast<size_t>(c.size);
      if (!escaped.empty()) {
        out.append(run.substr(plain, pos - plain), origin);
        out.append(escaped, origin);
        plain = next;
      }
      pos = next;
    }
    out.append(run.substr(plain), origin);
  });
}

void print_quoted(TextBuilder& out, const MarkedText& text) {
  std::string_view view = text.view();
  bool use_double = view.find('\'') != std::string_view::npos &&
                    view.find('"') == std::string_view::npos;
  std::string_view quote = use_double ? "\"" : "'";
  append_own(out, quote);
  print_escaped(out, text,
                [&](char32_t c) { return repr_escape(c, static_cast<char32_t>(quote.front())); });
  append_own(out, quote);
}

void print_items(TextBuilder& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) append_own(out, ", ");
    print_repr(out, items[i]);
  }
}

void print_sequence(TextBuilder& out, const Sequence& sequence) {
  using Form = Sequence::Form;
  if (sequence.form == Form::range || sequence.form == Form::iterator) {
    append_own(out, sequence.label);
    return;
  }
  bool tuple = sequence.form == Form::tuple;
  if (sequence.form == Form::view) append_own(out, sequence.label + "(");
  append_own(out, tuple ? "(" : "[");
  print_items(out, sequence.items);
  if (tuple && sequence.items.size() == 1) append_own(out, ",");
  append_own(out, tuple ? ")" : "]");
  if (sequence.form == Form::view) append_own(out, ")");
}

void print_dict(TextBuilder& out, const Dict& dict) {
  append_own(out, "{");
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) append_own(out, ", ");
    print_repr(out, dict.entries[i].first);
    append_own(out, ": ");
    print_repr(out, dict.entries[i].second);
  }
  append_own(out, "}");
}

}  // namespace

void print(TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    out.append(value.as_text());
  } else if (!value.is_undefined()) {
    print_repr(out, value);
  }
}

void print_repr(TextBuilder& out, const Value& value) {
  DepthGuard guard(out.meter());
  out.meter().step();
  if (value.is_undefined()) return append_own(out, "Undefined");
  if (value.is_none()) return append_own(out, "None");
  if (value.is_bool()) return append_own(out, value.truthy() ? "True" : "False");
  if (value.is_int()) return append_own(out, std::to_string(value.as_int()));
  if (value.is_float()) return append_own(out, float_to_string(value.as_float()));
  if (value.is_string()) return print_quoted(out, value.as_text());
  if (value.is_dict()) return print_dict(out, value.as_dict());
  if (const Sequence* sequence = value.sequence()) return print_sequence(out, *sequence);
  if (const Loop* loop = value.loop()) {
    return append_own(
        out, concat("<LoopContext ", loop->index0 + 1, "/", loop->items->items.size(), ">"));
  }
  if (const Function* function = value.function(); function && function->macro) {
    return append_own(out, concat("<Macro '", function->name, "'>"));
  }
  append_own(out, concat("<", value.type_name(), ">"));
}

namespace {

class JsonPrinter {
 public:
  JsonPrinter(TextBuilder& out, const JsonStyle& style) : out_(out), style_(style) {}

  void print(const Value& value) {
    DepthGuard guard(out_.meter());
    out_.meter().step();
    if (value.is_string()) {
      print_string(value.as_text());
    } else if (value.is_dict()) {
      print_object(value.as_dict());
    } else if (value.is_list_or_tuple()) {
      const std::vector<Value>& items = value.sequence()->items;
      print_group("[", "]", items.size(), [&](size_t i) { print(items[i]); });
    } else {
      append_own(out_, scalar(value));
    }
  }

 private:
  std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.truthy() ? "true" : "false";
    if (value.is_int()) return std::to_string(value.as_int());
    if (!value.is_float()) {
      out_.meter().fail(
          concat("a value of type ", value.type_name(), " cannot be written as JSON"));
    }
    double number = value.as_float();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_to_string(number);
  }

  void print_string(const MarkedText& text) {
    append_own(out_, "\"");
    print_escaped(out_, text, [&](char32_t c) { return json_escape(c, style_.ascii_only); });
    append_own(out_, "\"");
  }

  void print_key(const Value& key) {
    if (key.is_string()) return print_string(key.as_text());
    if (key.sequence()) out_.meter().fail("a key that is a tuple cannot be written as JSON");
    append_own(out_, concat("\"", scalar(key), "\""));
  }

  void print_object(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      out_.meter().work(entries.size() * 1024);
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return KeyLess()(a->first, b->first); });
    }
    print_group("{", "}", entries.size(), [&](size_t i) {
      print_key(entries[i]->first);
      append_own(out_, style_.key_separator);
      print(entries[i]->second);
    });
  }

  template <typename PrintItem>
  void print_group(std::string_view open, std::string_view close, size_t count,
                   const PrintItem& print_item) {
    append_own(out_, open);
    ++level_;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) append_own(out_, style_.item_separator);
      print_line_start();
      print_item(i);
    }
    --level_;
    if (count > 0) print_line_start();
    append_own(out_, close);
  }

  void print_line_start() {
    if (!style_.indent) return;
    append_own(out_, "\n");
    for (int i = 0; i < level_; ++i) append_own(out_, *style_.indent);
  }

  TextBuilder& out_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

void print_json(TextBuilder& out, const Value& value, const JsonStyle& style) {
  JsonPrinter(out, style).print(value);
}

}  // namespace kvi::jinja
