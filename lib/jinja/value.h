// The values that templates compute with: Python's, as far as templates see them.
//
// All are immutable but namespaces, which templates assign to, and iterators, which are used up.
// Objects are counted against the rendering's memory limit, and know how deep they nest, so that
// nothing that walks them (printing, comparing, freeing) can recurse without bound.
//
// Not thread-safe: values live within one rendering; only constants of a program are shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/meter.h"
#include "jinja/text.h"

namespace kvi::jinja {

struct StringObject;
struct Sequence;
struct Dict;
struct Namespace;
struct Loop;
struct Function;

// What a name or field that is not there evaluates to; most uses of it fail, naming it.
struct Undefined {
  std::string_view name;  // lives as long as the program or the input; may be empty
};
struct None {};

class Value {
 public:
  using Variant =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const StringObject>,
                   std::shared_ptr<Sequence>, std::shared_ptr<const Dict>, Namespace*,
                   std::shared_ptr<Loop>, std::shared_ptr<const Function>>;

  Value() : data_(None{}) {}
  Value(Undefined value) : data_(value) {}
  Value(None value) : data_(value) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  template <typename T>
    requires std::is_constructible_v<Variant, T> &&(!std::is_arithmetic_v<T>)Value(T value)
        : data_(std::move(value)) {}
    Value(const char*) = delete;  // would become a bool

    bool is_undefined() const { return holds<Undefined>(); }
    bool is_none() const { return holds<None>(); }
    bool is_bool() const { return holds<bool>(); }
    bool is_int() const {
      return holds<int64_t>() || is_bool();
    }  // as in Python, bools are integers
    bool is_float() const { return holds<double>(); }
    bool is_number() const { return is_int() || is_float(); }
    bool is_string() const { return holds<std::shared_ptr<const StringObject>>(); }
    bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }

    // Each requires the matching is_...().
    int64_t as_int() const { return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
    double as_float() const {
      return is_int() ? static_cast<double>(as_int()) : std::get<double>(data_);
    }
    const MarkedText& as_text() const;
    std::string_view as_view() const { return as_text().view(); }
    const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }

    // nullptr for any other kind.
    Sequence* sequence() const { return get<std::shared_ptr<Sequence>>(); }
    Namespace* as_namespace() const;
    Loop* loop() const { return get<std::shared_ptr<Loop>>(); }
    const Function* function() const { return get<std::shared_ptr<const Function>>(); }
    std::string_view undefined_name() const { return std::get<Undefined>(data_).name; }

    const Variant& variant() const { return data_; }

    bool is_list_or_tuple() const;
    bool truthy() const;
    int depth() const;              // 0 for scalars; one more than the deepest element
    const char* type_name() const;  // as Python calls it, for messages
    bool is_same_object(const Value& other) const;

   private:
    template <typename T>
    bool holds() const {
      return std::holds_alternative<T>(data_);
    }
    template <typename T>
    typename T::element_type* get() const {
      const T* pointer = std::get_if<T>(&data_);
      return pointer ? pointer->get() : nullptr;
    }

    Variant data_;
};

struct StringObject {
  MarkedText text;  // UTF-8
  Charge charge;
};

struct Sequence {
  enum class Form {
    list,
    tuple,
    range,
    view,      // what dict.items() and the like return: it has a length but no elements by index
    iterator,  // what filters such as map return: no length, and read once
  };

  Form form = Form::list;
  std::vector<Value> items;
  std::string label;              // how ranges, views and iterators print
  size_t next = 0;                // iterator: the first item not yet taken
  int64_t first = 0, stride = 1;  // range: its items are first, first + stride, ...
  int depth = 1;
  Charge charge;
};

// Orders the keys of dictionaries, of all kinds together; equal as Python has it (1 == 1.0 == True).
// Walks keys unmetered: Runtime::check_key comes first.
struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  std::map<Value, size_t, KeyLess> index;        // key -> place in entries
  int depth = 1;
  Charge charge;
};

// May hold itself, so the runtime owns it and values only point at it.
struct Namespace {
  std::map<std::string, Value, std::less<>> fields;
};

// The `loop` of a for statement.
struct Loop {
  std::shared_ptr<Sequence> items;
  size_t index0 = 0;
  Charge charge;
};

class Runtime;
struct Arguments;
struct Macro;
struct Scope;

// Subject: what a filter or test is applied to, or whose method is called.
using Native = Value (*)(Runtime& runtime, const Value& subject, const Arguments& arguments);

// What can be called: a native function or method, or a macro with the scope that it was defined in.
struct Function {
  std::string_view name;
  Native native = nullptr;
  Value receiver;  // of a method
  const Macro* macro = nullptr;
  Scope* scope = nullptr;  // of a macro; the interpreter keeps it alive
  Charge charge;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

}  // namespace kvi::jinja
