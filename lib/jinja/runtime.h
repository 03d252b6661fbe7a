// What expressions do to values: Python's operators as templates see them, within a meter's limits.
//
// Owns no variables and knows no syntax; the interpreter and the built-in functions share it.
//
// Not thread-safe: one rendering, one runtime.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/meter.h"
#include "jinja/value.h"

namespace kvi::jinja {

// Text under construction, counted against the memory limit as it grows.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(meter), charge_(meter, 0) {}

  void append(std::string_view text, Origin origin);
  void append(const MarkedText& text) { append_slice(text, 0, text.size()); }
  void append_slice(const MarkedText& text, size_t begin, size_t end);

  size_t size() const { return text_.size(); }
  const MarkedText& text() const { return text_; }
  Meter& meter() { return meter_; }
  Value finish();  // the builder is spent

 private:
  void reserve(size_t bytes);

  Meter& meter_;
  MarkedText text_;
  Charge charge_;
};

class Runtime {
 public:
  explicit Runtime(Meter& meter, std::optional<int64_t> now = {}) : meter_(meter), now_(now) {}
  ~Runtime();  // no value may outlive it
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Meter& meter() { return meter_; }
  std::optional<int64_t> now() const { return now_; }  // seconds since 1970
  [[noreturn]] void fail(const std::string& message) const { meter_.fail(message); }
  [[noreturn]] void fail_unsupported(const std::string& what) const {
    meter_.fail_unsupported(what);
  }

  // Constructors of values; each is counted.
  Value string(std::string_view text, Origin origin);
  Value slice_of(const MarkedText& text, size_t begin, size_t end);
  Value list(std::vector<Value> items) { return sequence(Sequence::Form::list, std::move(items)); }
  Value tuple(std::vector<Value> items) {
    return sequence(Sequence::Form::tuple, std::move(items));
  }
  Value iterator(std::vector<Value> items);
  Value range(int64_t first, int64_t end, int64_t stride, size_t count);
  Value sequence(Sequence::Form form, std::vector<Value> items, std::string label = {});
  std::shared_ptr<Dict> new_dict();
  void put(Dict& dict, Value key, Value value);  // replaces the value of a key that is there
  const Value* find(const Dict& dict, const Value& key);
  Namespace* new_namespace();
  void set_field(Namespace& space, std::string_view name, Value value);

  // What a for loop over value sees; an iterator is used up by it.
  std::shared_ptr<Sequence> iterate(const Value& value);

  // None where Python has no length.
  std::optional<size_t> length(const Value& value);

  Value binary(BinaryOp op, const Value& a, const Value& b);
  Value negate(const Value& value);
  bool compare(CompareOp op, const Value& a, const Value& b);
  bool equal(const Value& a, const Value& b);
  bool less(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);

  // object[key], object.name; undefined where there is none.
  Value element(const Value& object, const Value& key);
  Value attribute(const Value& object, std::string_view name);
  // object[begin:end:step], each of which may be none.
  Value slice(const Value& object, const Value& begin, const Value& end, const Value& step);
  // Follows 'a.b.0' as filters with an attribute argument do.
  Value path(const Value& object, const Value& attribute);

  // str(value), as printed.
  Value to_string(const Value& value);
  // The text of a string, or of str(value) kept alive in storage.
  const MarkedText& text_of(const Value& value, Value& storage);
  int64_t to_index(const Value& value, const char* what);  // fails unless an integer

 private:
  [[noreturn]] void fail_undefined(const Value& value) const;
  std::optional<Value> find_element(const Value& object, const Value& key);
  std::optional<Value> find_attribute(const Value& object, std::string_view name);
  Value repeat(const Value& what, const Value& times);
  Value join_sequences(const Sequence& a, const Sequence& b);
  int checked_depth(int depth) const;
  bool check_key(const Value& key, size_t num_comparisons);

  Meter& meter_;
  std::optional<int64_t> now_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

// The arguments of a native call, matched to the names of its parameters.
class BoundArguments {
 public:
  // Fails on unknown names and on too many arguments. Names live as long as this.
  BoundArguments(Runtime& runtime, std::string_view callee, const Arguments& arguments,
                 std::initializer_list<std::string_view> names);

  const Value* find(size_t parameter) const { return values_[parameter]; }
  const Value& required(size_t parameter) const;
  Value get(size_t parameter, const Value& fallback) const;
  int64_t get_int(size_t parameter, int64_t fallback) const;
  bool get_bool(size_t parameter, bool fallback) const;

 private:
  Runtime& runtime_;
  std::string_view callee_;
  std::vector<const Value*> values_;
};

// Numbers as Python computes with them. Fails where 64 bits do not hold an integer result.
Value number_operation(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);

}  // namespace kvi::jinja
