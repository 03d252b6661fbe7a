#include "tokenizer/hf_json.h"

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr size_t kMaxBytes = size_t{256} << 20;
constexpr int kMaxDepth = 64;

}  // namespace

nlohmann::json parse_hf_json(std::string_view text, const char* file_name) {
  if (text.size() > kMaxBytes) {
    throw Error(Status::UNSUPPORTED, concat(file_name, " is larger than ", format_bytes(kMaxBytes)))
        .amounts(text.size(), kMaxBytes);
  }
  const auto check_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kMaxDepth) {
      throw Error(Status::UNSUPPORTED,
                  concat(file_name, " is nested deeper than ", kMaxDepth, " levels"));
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check_depth);
  } catch (const nlohmann::json::exception& error) {
    // Its message may quote the file, so only its place is told.
    const auto* parse_error = dynamic_cast<const nlohmann::json::parse_error*>(&error);
    throw Error(Status::CORRUPT,
                parse_error ? concat(file_name, " is not JSON: wrong at byte ", parse_error->byte)
                            : concat(file_name, " is not JSON"));
  }
}

void HfValue::fail(Status status, std::string_view text) const {
  throw Error(status, concat(path_, " ", text));
}

const std::string& HfValue::as_string() const {
  if (!value_->is_string()) fail(Status::CORRUPT, "must be a string");
  return value_->get_ref<const std::string&>();
}

bool HfValue::as_bool() const {
  if (!value_->is_boolean()) fail(Status::CORRUPT, "must be true or false");
  return value_->get<bool>();
}

int32_t HfValue::as_id() const {
  if (!value_->is_number_unsigned()) fail(Status::CORRUPT, "must be a token id");
  const uint64_t id = value_->get<uint64_t>();
  if (id > INT32_MAX) fail(Status::CORRUPT, concat("is ", id, ", too large for a token id"));
  return static_cast<int32_t>(id);
}

size_t HfValue::size() const {
  if (!value_->is_array()) fail(Status::CORRUPT, "must be a list");
  return value_->size();
}

HfValue HfValue::at(size_t index) const {
  return HfValue((*value_)[index], concat(path_, "[", index, "]"));
}

std::optional<HfValue> HfValue::find(const char* key) const {
  if (!value_->is_object()) fail(Status::CORRUPT, "must be an object");
  const auto member = value_->find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return HfValue(*member, path_.ends_with(' ') ? path_ + key : concat(path_, ".", key));
}

HfValue HfValue::get(const char* key) const {
  if (auto value = find(key)) return *value;
  fail(Status::CORRUPT, concat("has no '", key, "'"));
}

bool HfValue::flag(const char* key, bool otherwise) const {
  const auto value = find(key);
  return value ? value->as_bool() : otherwise;
}

}  // namespace kvi
