#include "format/json_file.h"

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace kvi {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

json parse(const std::string& path, const std::string& text) {
  auto check_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth) {
      throw Error(Status::UNSUPPORTED,
                  concat(kvi::quoted(path, 400), " is nested deeper than ", kMaxDepth, " levels"));
    }
    return true;
  };
  try {
    return json::parse(text, check_depth);
  } catch (const json::exception& error) {
    throw Error(Status::CORRUPT,
                concat(kvi::quoted(path, 400), " is not JSON: ", kvi::quoted(error.what(), 200)));
  }
}

}  // namespace

JsonObject JsonObject::read(const std::string& path, uint64_t max_bytes) {
  json value = parse(path, File::read_all(path, max_bytes));
  if (!value.is_object()) {
    throw Error(Status::CORRUPT, concat(kvi::quoted(path, 400), " holds no JSON object"));
  }
  return {path, "", std::move(value)};
}

void JsonObject::fail(Status status, std::string_view key, std::string_view text) const {
  throw Error(status, concat(kvi::quoted(path_, 400), ": key ", kvi::quoted(concat(prefix_, key)),
                             " ", text));
}

const json* JsonObject::find(std::string_view key) const {
  auto it = value_.find(key);
  return it == value_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonObject::is_null(std::string_view key) const {
  auto it = value_.find(key);
  return it != value_.end() && it->is_null();
}

std::optional<JsonObject> JsonObject::find_object(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(Status::CORRUPT, key, "must be an object");
  return JsonObject(path_, concat(prefix_, key, "."), *value);
}

std::optional<bool> JsonObject::find_bool(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(Status::CORRUPT, key, "must be true or false");
  return value->get<bool>();
}

std::optional<int64_t> JsonObject::find_size(std::string_view key) const {
  const std::optional<int64_t> value = find_count(key);
  if (value == 0) fail(Status::CORRUPT, key, "must not be 0");
  return value;
}

std::optional<int64_t> JsonObject::find_count(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_unsigned() || value->get<uint64_t>() > INT32_MAX) {
    fail(Status::CORRUPT, key, "must be a whole number up to 2147483647");
  }
  return value->get<int64_t>();
}

std::optional<double> JsonObject::find_number(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    fail(Status::CORRUPT, key, "must be a finite number");
  }
  return value->get<double>();
}

std::optional<double> JsonObject::find_positive(std::string_view key) const {
  const std::optional<double> value = find_number(key);
  if (value && !(*value > 0))
    fail(Status::CORRUPT, key, concat("is ", *value, "; expected a positive number"));
  return value;
}

std::optional<std::string> JsonObject::find_string(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(Status::CORRUPT, key, "must be a string");
  return value->get<std::string>();
}

std::optional<std::vector<std::string>> JsonObject::find_strings(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) fail(Status::CORRUPT, key, "must be an array of strings");
  std::vector<std::string> strings;
  for (const json& element : *value) {
    if (!element.is_string()) fail(Status::CORRUPT, key, "must be an array of strings");
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

std::vector<int64_t> JsonObject::find_ids(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return {};
  std::vector<int64_t> ids;
  for (const json& element : value->is_array() ? *value : json::array({*value})) {
    if (!element.is_number_unsigned() || element.get<uint64_t>() > INT32_MAX) {
      fail(Status::CORRUPT, key, "must be a token id or an array of token ids");
    }
    ids.push_back(element.get<int64_t>());
  }
  return ids;
}

int64_t JsonObject::get_size(std::string_view key) const {
  std::optional<int64_t> value = find_size(key);
  if (!value) fail(Status::CORRUPT, key, "is missing");
  return *value;
}

}  // namespace kvi
