// JSON files of a Hugging Face folder: parsed with limits, and read through typed look-ups whose errors
// name file and key.
//
// Immutable after construction, so thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvi {

// An object of a JSON file. A key whose value is null counts as missing.
class JsonObject {
 public:
  // Throws NOT_FOUND, IO, CORRUPT (not a JSON object) or UNSUPPORTED (past max_bytes or nested too deep).
  static JsonObject read(const std::string& path, uint64_t max_bytes);

  // An empty object, for files that need not be there.
  static JsonObject empty(const std::string& path) { return {path, "", nlohmann::json::object()}; }

  bool contains(std::string_view key) const { return find(key) != nullptr; }
  bool is_null(std::string_view key) const;  // the key is there, and its value is null
  std::optional<JsonObject> find_object(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<int64_t> find_size(std::string_view key) const;   // 1 .. 2^31 - 1
  std::optional<int64_t> find_count(std::string_view key) const;  // 0 .. 2^31 - 1
  std::optional<double> find_number(std::string_view key) const;
  std::optional<double> find_positive(std::string_view key) const;  // a number above 0
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<std::vector<std::string>> find_strings(std::string_view key) const;
  std::vector<int64_t> find_ids(std::string_view key) const;  // one token id, a list, or none

  int64_t get_size(std::string_view key) const;  // throws CORRUPT when the key is missing

  const nlohmann::json* find(std::string_view key) const;  // nullptr when missing
  const nlohmann::json& value() const { return value_; }
  const std::string& path() const { return path_; }

  // Throws an Error about a key: "'config.json': key 'rope_scaling.factor' text".
  [[noreturn]] void fail(Status status, std::string_view key, std::string_view text) const;

 private:
  JsonObject(std::string path, std::string prefix, nlohmann::json value)
      : path_(std::move(path)), prefix_(std::move(prefix)), value_(std::move(value)) {}

  std::string path_;    // of the file
  std::string prefix_;  // of the keys: "text_config."
  nlohmann::json value_;
};

}  // namespace kvi
