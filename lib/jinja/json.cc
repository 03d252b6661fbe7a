#include "jinja/json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace kvi::jinja {
namespace {

// Receives the parser's events. The parser itself keeps no stack of calls.
class ValueReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  ValueReader(Runtime& runtime, std::string_view what) : runtime_(runtime), what_(what) {}

  Value take() { return std::move(result_); }

  bool null() override { return add(None{}); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(int64_t{value}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > INT64_MAX) fail_number();
    return add(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == string_t::npos) fail_number();
    return add(value);
  }
  bool string(string_t& text) override { return add(runtime_.string(text, Origin::from_message)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& text) override {
    open_.back().key = runtime_.string(text, Origin::from_message);
    return true;
  }
  bool end_object() override { return close(std::shared_ptr<const Dict>(open_.back().dict)); }
  bool end_array() override { return close(runtime_.list(std::move(open_.back().items))); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw Error(Status::INVALID_ARGUMENT, concat(what_, " is not valid JSON at byte ", position));
  }

 private:
  struct Open {
    std::shared_ptr<Dict> dict;  // null: an array
    Value key;
    std::vector<Value> items;
  };

  bool open(bool is_object) {
    int max_depth = runtime_.meter().limits().max_depth;
    if (static_cast<int>(open_.size()) >= max_depth) {
      throw Error(Status::UNSUPPORTED,
                  concat(what_, " nests deeper than ", max_depth, " (max_depth)"));
    }
    Open& opened = open_.emplace_back();
    if (is_object) opened.dict = runtime_.new_dict();
    return true;
  }

  bool close(Value value) {
    open_.pop_back();
    return add(std::move(value));
  }

  bool add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (Open& parent = open_.back(); parent.dict) {
      runtime_.put(*parent.dict, parent.key, std::move(value));
    } else {
      parent.items.push_back(std::move(value));
    }
    return true;
  }

  [[noreturn]] void fail_number() const {
    throw Error(Status::UNSUPPORTED, concat(what_, " holds an integer beyond 64 bits"));
  }

  Runtime& runtime_;
  std::string_view what_;
  std::vector<Open> open_;
  Value result_;
};

}  // namespace

Value parse_json_object(Runtime& runtime, std::string_view text, std::string_view what) {
  ValueReader reader(runtime, what);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  Value value = reader.take();
  if (!value.is_dict())
    throw Error(Status::INVALID_ARGUMENT, concat(what, " is not a JSON object"));
  return value;
}

}  // namespace kvi::jinja
