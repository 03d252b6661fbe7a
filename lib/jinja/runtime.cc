#include "jinja/runtime.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"
#include "jinja/strings.h"

namespace kvi::jinja {
namespace {

constexpr size_t kObjectBytes = 96;  // an object beside what it holds, roughly
constexpr size_t kEntryBytes = 160;  // of a dictionary: the pair, its place in the index

}  // namespace

void TextBuilder::reserve(size_t bytes) {
  meter_.work(bytes);
  charge_.add(bytes);
}

void TextBuilder::append(std::string_view text, Origin origin) {
  size_t before = text_.memory_bytes();
  reserve(text.size());
  text_.append(text, origin);
  charge_.add(text_.memory_bytes() - before - text.size());
}

void TextBuilder::append_slice(const MarkedText& text, size_t begin, size_t end) {
  size_t before = text_.memory_bytes();
  reserve(end - begin);
  text_.append_slice(text, begin, end);
  charge_.add(text_.memory_bytes() - before - (end - begin));
}

Value TextBuilder::finish() {
  charge_.add(kObjectBytes);
  return std::make_shared<const StringObject>(StringObject{std::move(text_), std::move(charge_)});
}

Runtime::~Runtime() {
  // Namespaces may hold each other, so all let go before any is freed.
  for (auto& space : namespaces_) space->fields.clear();
}

Value Runtime::string(std::string_view text, Origin origin) {
  TextBuilder out(meter_);
  out.append(text, origin);
  return out.finish();
}

Value Runtime::slice_of(const MarkedText& text, size_t begin, size_t end) {
  TextBuilder out(meter_);
  if (begin < end) out.append_slice(text, begin, end);
  return out.finish();
}

int Runtime::checked_depth(int depth) const {
  if (depth > meter_.limits().max_depth) {
    meter_.fail_limit(
        concat("values nested deeper than ", meter_.limits().max_depth, " (max_depth)"));
  }
  return depth;
}

Value Runtime::sequence(Sequence::Form form, std::vector<Value> items, std::string label) {
  Charge charge(meter_, kObjectBytes + items.size() * sizeof(Value));
  meter_.work(items.size() * sizeof(Value));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  depth = checked_depth(depth + 1);
  return std::make_shared<Sequence>(
      Sequence{form, std::move(items), std::move(label), 0, 0, 1, depth, std::move(charge)});
}

Value Runtime::range(int64_t first, int64_t end, int64_t stride, size_t count) {
  std::vector<Value> numbers;
  for (size_t i = 0; i < count; ++i) numbers.push_back(first + static_cast<int64_t>(i) * stride);
  std::string label = stride == 1 ? concat("range(", first, ", ", end, ")")
                                  : concat("range(", first, ", ", end, ", ", stride, ")");
  Value value = sequence(Sequence::Form::range, std::move(numbers), std::move(label));
  value.sequence()->first = first;
  value.sequence()->stride = stride;
  return value;
}

Value Runtime::iterator(std::vector<Value> items) {
  return sequence(Sequence::Form::iterator, std::move(items), "<generator object>");
}

std::shared_ptr<Dict> Runtime::new_dict() {
  auto dict = std::make_shared<Dict>(Dict{{}, {}, 1, Charge(meter_, kObjectBytes)});
  return dict;
}

// Whether it can be a key. Pays for walking it, so that comparing keys needs no meter.
bool Runtime::check_key(const Value& key, size_t num_comparisons) {
  meter_.work((key.is_string() ? key.as_text().size() : 0) * num_comparisons);
  const Sequence* items = key.sequence();
  if (!items) return !key.is_dict() && !key.as_namespace();
  if (items->form == Sequence::Form::list || items->form == Sequence::Form::view) return false;
  return std::all_of(items->items.begin(), items->items.end(),
                     [&](const Value& item) { return check_key(item, num_comparisons); });
}

void Runtime::put(Dict& dict, Value key, Value value) {
  if (!check_key(key, std::bit_width(dict.entries.size()) + 1)) {
    fail(concat("a ", key.type_name(), " cannot be the key of a dict"));
  }
  dict.depth = std::max(dict.depth, checked_depth(1 + std::max(key.depth(), value.depth())));
  auto [place, is_new] = dict.index.emplace(key, dict.entries.size());
  if (!is_new) {
    dict.entries[place->second].second = std::move(value);
    return;
  }
  dict.charge.add(kEntryBytes);
  dict.entries.emplace_back(std::move(key), std::move(value));
}

const Value* Runtime::find(const Dict& dict, const Value& key) {
  if (!check_key(key, std::bit_width(dict.entries.size()) + 1)) {
    fail(concat("a ", key.type_name(), " cannot be the key of a dict"));
  }
  auto found = dict.index.find(key);
  return found == dict.index.end() ? nullptr : &dict.entries[found->second].second;
}

Namespace* Runtime::new_namespace() {
  meter_.charge(kObjectBytes);  // until the rendering ends
  namespaces_.push_back(std::make_unique<Namespace>());
  return namespaces_.back().get();
}

void Runtime::set_field(Namespace& space, std::string_view name, Value value) {
  // Templates that Hugging Face's sandbox refuses are refused here too.
  if (name.starts_with('_')) fail("a namespace's field may not begin with an underscore");
  auto field = space.fields.find(name);
  if (field != space.fields.end()) {
    field->second = std::move(value);
    return;
  }
  meter_.charge(kEntryBytes + name.size());  // until the rendering ends
  space.fields.emplace(name, std::move(value));
}

std::shared_ptr<Sequence> Runtime::iterate(const Value& value) {
  auto made = [&](std::vector<Value> items) {
    return std::get<std::shared_ptr<Sequence>>(list(std::move(items)).variant());
  };
  if (Sequence* items = value.sequence()) {
    if (items->form != Sequence::Form::iterator) {
      return std::get<std::shared_ptr<Sequence>>(value.variant());
    }
    std::vector<Value> rest(items->items.begin() + static_cast<ptrdiff_t>(items->next),
                            items->items.end());
    items->next = items->items.size();
    return made(std::move(rest));
  }
  if (value.is_undefined()) return made({});
  std::vector<Value> items;
  if (value.is_dict()) {
    for (const auto& entry : value.as_dict().entries) items.push_back(entry.first);
    return made(std::move(items));
  }
  if (!value.is_string()) fail(concat("a value of type ", value.type_name(), " is not iterable"));
  const MarkedText& text = value.as_text();
  for (size_t pos = 0; pos < text.size();) {
    size_t next = next_code_point(text.view(), pos);
    items.push_back(slice_of(text, pos, next));
    pos = next;
  }
  return made(std::move(items));
}

std::optional<size_t> Runtime::length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) {
    meter_.work(value.as_text().size());
    return count_code_points(value.as_view());
  }
  if (value.is_dict()) return value.as_dict().entries.size();
  if (const Loop* loop = value.loop()) return loop->items->items.size();
  const Sequence* items = value.sequence();
  if (!items || items->form == Sequence::Form::iterator) return std::nullopt;
  return items->items.size();
}

int64_t Runtime::to_index(const Value& value, const char* what) {
  if (!value.is_int()) fail(concat(what, " must be an integer, not ", value.type_name()));
  return value.as_int();
}

void Runtime::fail_undefined(const Value& value) const {
  std::string_view name = value.undefined_name();
  fail(name.empty() ? "an undefined value is used" : concat(quoted(name), " is undefined"));
}

std::optional<Value> Runtime::find_element(const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_dict()) {
    const Value* found = check_key(key, 1) ? find(object.as_dict(), key) : nullptr;
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  if (!key.is_int()) return std::nullopt;
  int64_t index = key.as_int();
  if (object.is_string()) {
    meter_.work(object.as_text().size());
    std::string_view text = object.as_view();
    if (index < 0) index += static_cast<int64_t>(count_code_points(text));
    if (index < 0) return std::nullopt;
    size_t begin = code_point_offset(text, static_cast<size_t>(index));
    if (begin >= text.size()) return std::nullopt;
    return slice_of(object.as_text(), begin, next_code_point(text, begin));
  }
  const Sequence* items = object.sequence();
  if (!items || items->form == Sequence::Form::view || items->form == Sequence::Form::iterator) {
    return std::nullopt;
  }
  int64_t size = static_cast<int64_t>(items->items.size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return items->items[static_cast<size_t>(index)];
}

std::optional<Value> Runtime::find_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) fail_undefined(object);
  if (Namespace* space = object.as_namespace()) {
    auto found = space->fields.find(name);
    return found == space->fields.end() ? std::nullopt : std::optional<Value>(found->second);
  }
  if (object.loop()) {
    if (auto field = loop_field(object, name)) return field;
  }
  const Method* method = find_method(object, name);
  if (!method) return std::nullopt;
  return std::make_shared<const Function>(
      Function{method->name, method->call, object, nullptr, nullptr, Charge(meter_, kObjectBytes)});
}

// object[key] prefers elements, object.name prefers attributes; each falls back on the other.
Value Runtime::element(const Value& object, const Value& key) {
  if (auto found = find_element(object, key)) return *std::move(found);
  if (key.is_string()) {
    if (auto found = find_attribute(object, key.as_view())) return *std::move(found);
  }
  return Undefined{};
}

Value Runtime::attribute(const Value& object, std::string_view name) {
  if (auto found = find_attribute(object, name)) return *std::move(found);
  if (object.is_dict()) {
    if (auto found = find_element(object, string(name, Origin::from_template)))
      return *std::move(found);
  }
  return Undefined{};
}

Value Runtime::path(const Value& object, const Value& attribute) {
  if (!attribute.is_string()) return element(object, attribute);
  Value current = object;
  const MarkedText& text = attribute.as_text();
  for (Range part : split(text.view(), ".", -1, Sides::left)) {
    std::string_view name = text.view().substr(part.begin, part.end - part.begin);
    bool is_number = !name.empty() && name.size() < 18 &&
                     name.find_first_not_of("0123456789") == std::string_view::npos;
    current = element(current, is_number
                                   ? Value(static_cast<int64_t>(std::stoll(std::string(name))))
                                   : slice_of(text, part.begin, part.end));
  }
  return current;
}

Value Runtime::slice(const Value& object, const Value& begin, const Value& end, const Value& step) {
  if (object.is_undefined()) fail_undefined(object);
  bool is_text = object.is_string();
  const Sequence* items = object.sequence();
  bool indexed = items && items->form != Sequence::Form::view &&
                 items->form != Sequence::Form::iterator;
  if (!is_text && !indexed)
    fail(concat("a value of type ", object.type_name(), " cannot be sliced"));

  // Python's slice.indices(): bounds clipped to where a walk in this direction can be.
  int64_t size = static_cast<int64_t>(*length(object));
  int64_t stride = step.is_none() ? 1 : to_index(step, "the step of a slice");
  if (stride == 0) fail("the step of a slice is zero");
  int64_t lowest = stride < 0 ? -1 : 0, highest = stride < 0 ? size - 1 : size;
  auto bound = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    int64_t index = to_index(value, "the bound of a slice");
    if (index < 0) index = index < -size ? -1 - size : index + size;
    return std::clamp(index, lowest, std::max(lowest, highest));
  };
  int64_t from = bound(begin, stride < 0 ? highest : lowest);
  int64_t to = bound(end, stride < 0 ? lowest : highest);

  auto for_each_index = [&](const auto& visit) {
    for (int64_t i = from; stride < 0 ? i > to : i < to;) {
      visit(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, stride, &i)) break;
    }
  };
  if (!is_text) {
    std::vector<Value> taken;
    for_each_index([&](size_t i) { taken.push_back(items->items[i]); });
    if (items->form != Sequence::Form::range) return sequence(items->form, std::move(taken));
    auto number = [&](int64_t index) {
      return number_operation(*this, BinaryOp::add, items->first,
                              number_operation(*this, BinaryOp::multiply, index, items->stride))
          .as_int();
    };
    int64_t new_stride = number_operation(*this, BinaryOp::multiply, items->stride, stride)
                             .as_int();
    return range(number(from), number(to), new_stride, taken.size());
  }
  const MarkedText& text = object.as_text();
  if (stride == 1) {
    if (from >= to) return slice_of(text, 0, 0);
    size_t first = code_point_offset(text.view(), static_cast<size_t>(from));
    size_t count = static_cast<size_t>(to - from);
    return slice_of(text, first, first + code_point_offset(text.view().substr(first), count));
  }
  Charge charge(meter_, (static_cast<size_t>(size) + 1) * sizeof(size_t));
  std::vector<size_t> offsets;
  for (size_t pos = 0; pos < text.size(); pos = next_code_point(text.view(), pos))
    offsets.push_back(pos);
  offsets.push_back(text.size());
  TextBuilder out(meter_);
  for_each_index([&](size_t i) { out.append_slice(text, offsets[i], offsets[i + 1]); });
  return out.finish();
}

Value Runtime::to_string(const Value& value) {
  if (value.is_string()) return value;
  TextBuilder out(meter_);
  print(out, value);
  return out.finish();
}

const MarkedText& Runtime::text_of(const Value& value, Value& storage) {
  storage = to_string(value);
  return storage.as_text();
}

BoundArguments::BoundArguments(Runtime& runtime, std::string_view callee,
                               const Arguments& arguments,
                               std::initializer_list<std::string_view> names)
    : runtime_(runtime), callee_(callee), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    runtime.fail(concat(callee, "() takes at most ", names.size(), " arguments"));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t place = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (place == names.size() || values_[place]) {
      runtime.fail(concat(callee, "() does not take ", quoted(name), " as an argument here"));
    }
    values_[place] = &value;
  }
}

const Value& BoundArguments::required(size_t parameter) const {
  if (!values_[parameter]) {
    runtime_.fail(concat(callee_, "() lacks its argument ", parameter + 1));
  }
  return *values_[parameter];
}

Value BoundArguments::get(size_t parameter, const Value& fallback) const {
  return values_[parameter] ? *values_[parameter] : fallback;
}

int64_t BoundArguments::get_int(size_t parameter, int64_t fallback) const {
  if (!values_[parameter]) return fallback;
  return runtime_.to_index(*values_[parameter], "an argument");
}

bool BoundArguments::get_bool(size_t parameter, bool fallback) const {
  return values_[parameter] ? values_[parameter]->truthy() : fallback;
}

}  // namespace kvi::jinja
