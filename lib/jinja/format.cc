// Formatting of text by pattern: the % operator, str.format, strftime.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"
#include "jinja/strings.h"

namespace kvi::jinja {
namespace {

constexpr size_t kMaxWidth = 1000;  // of one formatted field

// One %[(key)][flags][width][.precision]conversion.
struct Directive {
  std::optional<Range> key;
  bool left = false, zero = false, plus = false;
  size_t width = 0;
  std::optional<size_t> precision;
  char conversion = 0;
};

class PercentFormat {
 public:
  PercentFormat(Runtime& runtime, const Value& format, const Value& arguments)
      : runtime_(runtime),
        format_(format.as_text()),
        text_(format.as_view()),
        arguments_(arguments),
        out_(runtime.meter()) {}

  Value run() {
    size_t plain = 0;
    while ((pos_ = text_.find('%', pos_)) != std::string_view::npos) {
      out_.append_slice(format_, plain, pos_);
      ++pos_;
      print_directive(parse());
      plain = pos_;
    }
    out_.append_slice(format_, plain, text_.size());
    bool single = !arguments_.sequence() && !arguments_.is_dict();
    if ((single && num_used_ == 0) ||
        (is_tuple() && num_used_ < arguments_.sequence()->items.size())) {
      runtime_.fail("not all arguments of % are used by its format");
    }
    return out_.finish();
  }

 private:
  bool is_tuple() const {
    return arguments_.sequence() && arguments_.sequence()->form == Sequence::Form::tuple;
  }

  char peek() const {
    if (pos_ >= text_.size()) runtime_.fail("a format ends inside a % directive");
    return text_[pos_];
  }

  size_t parse_number() {
    size_t number = 0;
    for (; peek() >= '0' && peek() <= '9'; ++pos_) {
      number = number * 10 + static_cast<size_t>(peek() - '0');
      if (number > kMaxWidth) runtime_.fail_unsupported("a format width beyond 1000");
    }
    return number;
  }

  Directive parse() {
    Directive directive;
    if (peek() == '(') {
      size_t close = text_.find(')', pos_);
      if (close == std::string_view::npos) runtime_.fail("a format ends inside a % directive");
      directive.key = Range{pos_ + 1, close};
      pos_ = close + 1;
    }
    for (;; ++pos_) {
      if (peek() == '-')
        directive.left = true;
      else if (peek() == '0')
        directive.zero = true;
      else if (peek() == '+')
        directive.plus = true;
      else
        break;
    }
    directive.width = parse_number();
    if (peek() == '.') {
      ++pos_;
      directive.precision = parse_number();
    }
    directive.conversion = peek();
    ++pos_;
    return directive;
  }

  Value next_argument(const Directive& directive) {
    if (directive.key) {
      if (!arguments_.is_dict()) runtime_.fail("a format with names needs a mapping");
      Value key = runtime_.slice_of(format_, directive.key->begin, directive.key->end);
      const Value* found = runtime_.find(arguments_.as_dict(), key);
      if (!found) runtime_.fail("a format names a key that is not there");
      return *found;
    }
    if (!is_tuple()) {
      if (num_used_++ > 0) runtime_.fail("not enough arguments for the format");
      return arguments_;
    }
    const std::vector<Value>& items = arguments_.sequence()->items;
    if (num_used_ >= items.size()) runtime_.fail("not enough arguments for the format");
    return items[num_used_++];
  }

  void print_directive(const Directive& directive) {
    if (directive.conversion == '%') return out_.append("%", Origin::from_template);
    Value value = next_argument(directive);
    switch (directive.conversion) {
      case 's':
      case 'r': {
        TextBuilder text(runtime_.meter());
        (directive.conversion == 's' ? print : print_repr)(text, value);
        size_t size = directive.precision
                          ? code_point_offset(text.text().view(), *directive.precision)
                          : text.size();
        pad(directive, text.text(), size);
        return;
      }
      case 'd':
      case 'i':
      case 'u': print_number(directive, decimal(value)); return;
      case 'x': print_number(directive, hexadecimal(value)); return;
      case 'f': print_number(directive, fixed(value, directive.precision.value_or(6))); return;
    }
    runtime_.fail_unsupported(
        concat("the format conversion ", quoted(std::string_view(&directive.conversion, 1))));
  }

  const Value& number(const Value& value) {
    if (!value.is_number())
      runtime_.fail(concat("a format needs a number, not a ", value.type_name()));
    return value;
  }

  std::string decimal(const Value& value) {
    if (number(value).is_int()) return std::to_string(value.as_int());
    double whole = std::trunc(value.as_float());
    if (!(std::fabs(whole) < 9e18)) runtime_.fail_unsupported("an integer beyond 64 bits");
    return std::to_string(static_cast<int64_t>(whole));
  }

  std::string hexadecimal(const Value& value) {
    int64_t integer = runtime_.to_index(value, "%x");
    char digits[20];
    uint64_t magnitude = integer < 0 ? 0 - static_cast<uint64_t>(integer)
                                     : static_cast<uint64_t>(integer);
    auto end = std::to_chars(digits, digits + sizeof digits, magnitude, 16).ptr;
    return concat(integer < 0 ? "-" : "", std::string(digits, end));
  }

  std::string fixed(const Value& value, size_t precision) {
    double real = number(value).as_float();
    if (!std::isfinite(real)) return float_to_string(real);
    char digits[1400];  // 309 before the point, at most kMaxWidth behind it
    auto end = std::to_chars(digits, digits + sizeof digits, real, std::chars_format::fixed,
                             static_cast<int>(precision))
                   .ptr;
    return std::string(digits, end);
  }

  void print_number(const Directive& directive, std::string digits) {
    bool has_sign = digits.front() == '-';
    if (!has_sign && directive.plus) {
      digits = concat("+", digits);
      has_sign = true;
    }
    if (directive.zero && !directive.left && digits.size() < directive.width) {
      digits.insert(has_sign ? 1 : 0, directive.width - digits.size(), '0');
    }
    pad(directive, MarkedText(digits, Origin::from_template), digits.size());
  }

  void pad(const Directive& directive, const MarkedText& text, size_t size) {
    size_t length = count_code_points(text.view().substr(0, size));
    std::string spaces(directive.width > length ? directive.width - length : 0, ' ');
    if (!directive.left) out_.append(spaces, Origin::from_template);
    out_.append_slice(text, 0, size);
    if (directive.left) out_.append(spaces, Origin::from_template);
  }

  Runtime& runtime_;
  const MarkedText& format_;
  std::string_view text_;
  const Value& arguments_;
  TextBuilder out_;
  size_t pos_ = 0;
  size_t num_used_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& arguments) {
  return PercentFormat(runtime, format, arguments).run();
}

Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments) {
  const MarkedText& marked = format.as_text();
  std::string_view text = marked.view();
  TextBuilder out(runtime.meter());
  size_t next_positional = 0, plain = 0, pos = 0;
  while ((pos = text.find_first_of("{}", pos)) != std::string_view::npos) {
    out.append_slice(marked, plain, pos);
    if (pos + 1 < text.size() && text[pos + 1] == text[pos]) {
      out.append_slice(marked, pos, pos + 1);
      plain = pos += 2;
      continue;
    }
    size_t close = text.find('}', pos);
    if (text[pos] == '}' || close == std::string_view::npos)
      runtime.fail("a format has a single brace");
    std::string_view name = text.substr(pos + 1, close - pos - 1);
    if (name.find_first_of(".[:!{") != std::string_view::npos) {
      runtime.fail_unsupported(concat("the format field ", quoted(name)));
    }
    const Value* value = nullptr;
    if (name.find_first_not_of("0123456789") == std::string_view::npos) {
      size_t number = next_positional;
      if (name.empty()) {
        ++next_positional;
      } else if (std::from_chars(name.data(), name.data() + name.size(), number).ec !=
                 std::errc()) {
        number = SIZE_MAX;
      }
      if (number < arguments.positional.size()) value = &arguments.positional[number];
    } else {
      for (const auto& named : arguments.named) {
        if (named.first == name) value = &named.second;
      }
    }
    if (!value) runtime.fail(concat("format() lacks the argument ", quoted(name)));
    print(out, *value);
    plain = pos = close + 1;
  }
  out.append_slice(marked, plain, text.size());
  return out.finish();
}

namespace {

struct Date {
  int64_t year;
  int month, day;  // from 1
  int hour, minute, second;
  int weekday;   // 0: Sunday
  int year_day;  // from 1
};

// The proleptic Gregorian calendar, by the usual count of days from 1 March 0000.
Date date_of(int64_t seconds) {
  int64_t days = seconds / 86400, rest = seconds % 86400;
  if (rest < 0) {
    rest += 86400;
    --days;
  }
  int64_t shifted = days + 719468;
  int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  int64_t day_of_era = shifted - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                         day_of_era / 146096) /
                        365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_shifted = (5 * day_of_year + 2) / 153;
  Date date = {};
  date.day = static_cast<int>(day_of_year - (153 * month_shifted + 2) / 5 + 1);
  date.month = static_cast<int>(month_shifted < 10 ? month_shifted + 3 : month_shifted - 9);
  date.year = year_of_era + era * 400 + (date.month <= 2 ? 1 : 0);
  date.hour = static_cast<int>(rest / 3600);
  date.minute = static_cast<int>(rest / 60 % 60);
  date.second = static_cast<int>(rest % 60);
  date.weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);
  static constexpr int kDaysBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  bool leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
  date.year_day = kDaysBefore[date.month - 1] + date.day + (leap && date.month > 2 ? 1 : 0);
  return date;
}

constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};
constexpr std::string_view kWeekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                          "Thursday", "Friday", "Saturday"};

std::string padded(int64_t number, size_t width) {
  std::string digits = std::to_string(number);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

std::string format_field(Runtime& runtime, char field, const Date& date) {
  std::string_view month = kMonths[date.month - 1], weekday = kWeekdays[date.weekday];
  int hour12 = date.hour % 12 == 0 ? 12 : date.hour % 12;
  switch (field) {
    case 'Y': return std::to_string(date.year);
    case 'y': return padded(date.year % 100, 2);
    case 'm': return padded(date.month, 2);
    case 'B': return std::string(month);
    case 'b': return std::string(month.substr(0, 3));
    case 'd': return padded(date.day, 2);
    case 'A': return std::string(weekday);
    case 'a': return std::string(weekday.substr(0, 3));
    case 'j': return padded(date.year_day, 3);
    case 'H': return padded(date.hour, 2);
    case 'I': return padded(hour12, 2);
    case 'M': return padded(date.minute, 2);
    case 'S': return padded(date.second, 2);
    case 'p': return date.hour < 12 ? "AM" : "PM";
    case 'F': return concat(date.year, "-", padded(date.month, 2), "-", padded(date.day, 2));
    case 'T':
      return concat(padded(date.hour, 2), ":", padded(date.minute, 2), ":", padded(date.second, 2));
    case '%': return "%";
  }
  runtime.fail_unsupported(concat("the strftime field ", quoted(std::string_view(&field, 1))));
}

}  // namespace

std::string format_time(Runtime& runtime, std::string_view format, int64_t seconds) {
  constexpr int64_t kLast = 253402300799;  // 9999-12-31 23:59:59
  if (seconds < 0 || seconds > kLast) runtime.fail("the time given lies before 1970 or after 9999");
  if (format.size() > kMaxWidth) runtime.fail_unsupported("a strftime format beyond 1000 bytes");
  Date date = date_of(seconds);
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    bool unpadded = i + 1 < format.size() && format[i + 1] == '-';
    if (unpadded) ++i;
    if (++i == format.size()) runtime.fail("a strftime format ends inside a field");
    std::string field = format_field(runtime, format[i], date);
    if (unpadded) field.erase(0, std::min(field.find_first_not_of('0'), field.size() - 1));
    out += field;
  }
  return out;
}

}  // namespace kvi::jinja
