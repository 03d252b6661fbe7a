// JSON of tokenizer files: parsed with limits, and values that know their place for error messages.
//
// A view into a document that its reader keeps. Thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvi {

// Throws CORRUPT (not JSON) or UNSUPPORTED (too long, nested too deep), naming the file.
nlohmann::json parse_hf_json(std::string_view text, const char* file_name);

// A value and its path, "tokenizer.json: model.merges[3]". null counts as missing.
class HfValue {
 public:
  HfValue(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  [[noreturn]] void fail(Status status, std::string_view text) const;

  bool is_string() const { return value_->is_string(); }
  bool is_array() const { return value_->is_array(); }
  bool is_object() const { return value_->is_object(); }

  // Each throws CORRUPT when the value is of another type.
  const std::string& as_string() const;
  bool as_bool() const;
  int32_t as_id() const;  // 0 .. 2^31 - 1
  size_t size() const;    // of an array
  HfValue at(size_t index) const;

  // Of an object. get throws CORRUPT when key is missing.
  std::optional<HfValue> find(const char* key) const;
  HfValue get(const char* key) const;
  std::string type() const { return get("type").as_string(); }
  bool flag(const char* key, bool otherwise) const;

  // visit(const std::string& key, const HfValue& value) for every member of an object.
  template <typename Visit>
  void for_each_member(Visit visit) const {
    if (!is_object()) fail(Status::CORRUPT, "must be an object");
    for (const auto& [key, member] : value_->items()) visit(key, HfValue(member, path_));
  }

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace kvi
