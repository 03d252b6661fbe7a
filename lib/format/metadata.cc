// The metadata of a model file: typed values by key. The class is declared in model_file.h.
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "format/model_file.h"

namespace kvi {
namespace {

const char* kind_name(const MetadataValue& value) {
  static constexpr const char* kNames[] = {"a bool",
                                           "an integer",
                                           "an integer",
                                           "a float",
                                           "a string",
                                           "an array of bools",
                                           "an array of integers",
                                           "an array of floats",
                                           "an array of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<MetadataValue>);
  return kNames[value.index()];
}

[[noreturn]] void throw_wrong_kind(std::string_view key, const char* wanted,
                                   const MetadataValue& value) {
  throw Error(Status::CORRUPT, concat("metadata key ", quoted(key), " must be ", wanted,
                                      ", but the model file holds ", kind_name(value)));
}

[[noreturn]] void throw_missing(std::string_view key) {
  throw Error(Status::CORRUPT,
              concat("metadata key ", quoted(key), " is missing from the model file"));
}

template <typename T, typename Values>
const T* find_as(const Values& values, std::string_view key, const char* wanted) {
  auto it = values.find(key);
  if (it == values.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr) throw_wrong_kind(key, wanted, it->second);
  return value;
}

}  // namespace

bool Metadata::contains(std::string_view key) const { return values_.find(key) != values_.end(); }

std::optional<bool> Metadata::find_bool(std::string_view key) const {
  const bool* value = find_as<bool>(values_, key, "a bool");
  return value ? std::optional<bool>(*value) : std::nullopt;
}

std::optional<int64_t> Metadata::find_int(std::string_view key) const {
  auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  if (const uint64_t* value = std::get_if<uint64_t>(&it->second)) {
    throw Error(Status::CORRUPT, concat("metadata key ", quoted(key), " is ", *value,
                                        ", past the range of a signed 64-bit integer"));
  }
  return *find_as<int64_t>(values_, key, "an integer");
}

std::optional<double> Metadata::find_float(std::string_view key) const {
  auto it = values_.find(key);
  if (it == values_.end()) return std::nullopt;
  if (const int64_t* value = std::get_if<int64_t>(&it->second)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&it->second))
    return static_cast<double>(*value);
  return *find_as<double>(values_, key, "a number");
}

std::optional<double> Metadata::find_positive(std::string_view key) const {
  const std::optional<double> value = find_float(key);
  if (value && !(*value > 0 && std::isfinite(*value))) {
    throw Error(Status::CORRUPT, concat("metadata key ", quoted(key), " is ", *value,
                                        "; expected a positive finite number"));
  }
  return value;
}

const std::string* Metadata::find_string(std::string_view key) const {
  return find_as<std::string>(values_, key, "a string");
}

const std::vector<int64_t>* Metadata::find_ints(std::string_view key) const {
  return find_as<std::vector<int64_t>>(values_, key, "an array of integers");
}

const std::vector<bool>* Metadata::find_bools(std::string_view key) const {
  return find_as<std::vector<bool>>(values_, key, "an array of bools");
}

const std::vector<double>* Metadata::find_floats(std::string_view key) const {
  return find_as<std::vector<double>>(values_, key, "an array of floats");
}

const std::vector<std::string>* Metadata::find_strings(std::string_view key) const {
  return find_as<std::vector<std::string>>(values_, key, "an array of strings");
}

int64_t Metadata::get_int(std::string_view key) const {
  std::optional<int64_t> value = find_int(key);
  if (!value) throw_missing(key);
  return *value;
}

double Metadata::get_float(std::string_view key) const {
  std::optional<double> value = find_float(key);
  if (!value) throw_missing(key);
  return *value;
}

const std::string& Metadata::get_string(std::string_view key) const {
  const std::string* value = find_string(key);
  if (value == nullptr) throw_missing(key);
  return *value;
}

void Metadata::set(std::string key, MetadataValue value) {
  values_.insert_or_assign(std::move(key), std::move(value));
}

}  // namespace kvi
