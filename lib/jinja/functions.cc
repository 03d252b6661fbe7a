// The global functions: range, namespace, dict, raise_exception, strftime_now.
#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "jinja/builtins.h"
#include "jinja/print.h"

namespace kvi::jinja {
namespace {

constexpr uint64_t kMaxRange = 100000;  // as Jinja's own sandbox

Value make_range(Runtime& runtime, const Value&, const Arguments& arguments) {
  BoundArguments bound(runtime, "range", arguments, {"start", "stop", "step"});
  int64_t start = runtime.to_index(bound.required(0), "range()'s argument");
  int64_t stop = bound.get_int(1, start);
  if (!bound.find(1)) start = 0;
  int64_t step = bound.get_int(2, 1);
  if (step == 0) runtime.fail("range() with a step of zero");

  uint64_t span = 0;  // unsigned, so that the widest range does not overflow
  if (step > 0 && start < stop) span = static_cast<uint64_t>(stop) - static_cast<uint64_t>(start);
  if (step < 0 && start > stop) span = static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  uint64_t count = span / stride + (span % stride != 0 ? 1 : 0);
  if (count > kMaxRange) {
    runtime.meter().fail_limit(concat("a range of more than ", kMaxRange, " numbers"));
  }
  return runtime.range(start, stop, step, count);
}

// Calls put(key, value) for the one mapping that may come first, then for each named argument.
template <typename Put>
void for_each_entry(Runtime& runtime, const Arguments& arguments, const Put& put) {
  if (arguments.positional.size() > 1) runtime.fail("dict() and namespace() take one mapping");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_undefined()) runtime.fail("dict() and namespace() of an undefined value");
    if (source.is_dict()) {
      for (const auto& [key, value] : source.as_dict().entries) put(key, value);
    } else {
      auto pairs = runtime.iterate(source);
      for (const Value& item : pairs->items) {
        auto pair = runtime.iterate(item);
        if (pair->items.size() != 2) runtime.fail("dict() takes pairs of key and value");
        put(pair->items[0], pair->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    put(runtime.string(name, Origin::from_template), value);
  }
}

Value make_dict(Runtime& runtime, const Value&, const Arguments& arguments) {
  auto dict = runtime.new_dict();
  for_each_entry(runtime, arguments,
                 [&](const Value& key, const Value& value) { runtime.put(*dict, key, value); });
  return std::shared_ptr<const Dict>(dict);
}

Value make_namespace(Runtime& runtime, const Value&, const Arguments& arguments) {
  Namespace* space = runtime.new_namespace();
  for_each_entry(runtime, arguments, [&](const Value& key, const Value& value) {
    if (!key.is_string()) runtime.fail("the fields of a namespace have strings as names");
    runtime.set_field(*space, key.as_view(), value);
  });
  return space;
}

Value raise_exception(Runtime& runtime, const Value&, const Arguments& arguments) {
  BoundArguments bound(runtime, "raise_exception", arguments, {"message"});
  Value storage;
  const MarkedText& message = runtime.text_of(bound.required(0), storage);
  throw Error(Status::INVALID_ARGUMENT,
              concat("the chat template refuses this conversation: ", quoted(message.view(), 400),
                     " (its line ", runtime.meter().line(), ")"));
}

Value strftime_now(Runtime& runtime, const Value&, const Arguments& arguments) {
  BoundArguments bound(runtime, "strftime_now", arguments, {"format"});
  const Value& format = bound.required(0);
  if (!format.is_string()) runtime.fail("strftime_now takes a string");
  return runtime.string(format_time(runtime, format.as_view(), *runtime.now()),
                        format.as_text().origin());
}

constexpr Method kFunctions[] = {
    {"dict", make_dict},   {"namespace", make_namespace},  {"raise_exception", raise_exception},
    {"range", make_range}, {"strftime_now", strftime_now},
};

}  // namespace

const Method* find_function(std::string_view name) { return find_sorted(kFunctions, name); }

}  // namespace kvi::jinja
