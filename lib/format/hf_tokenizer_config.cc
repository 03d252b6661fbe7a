#include "format/hf_tokenizer_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace kvi {
namespace {

constexpr uint64_t kMaxConfigBytes = 32 << 20;  // Gemma's lists each of its 6000 special tokens
constexpr uint64_t kMaxTemplateBytes = 4 << 20;

JsonObject read_optional(const std::string& path) {
  return file_exists(path) ? JsonObject::read(path, kMaxConfigBytes) : JsonObject::empty(path);
}

// The ids of the first file that has any come first.
std::vector<int64_t> merged_ids(const JsonObject& first, const JsonObject& second,
                                const char* key) {
  std::vector<int64_t> ids = first.find_ids(key);
  for (int64_t id : second.find_ids(key)) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

// "chat_template" is the text, or a list of named ones of which "default" is the plain chat.
void set_chat_template(const JsonObject& object, Metadata& metadata) {
  const nlohmann::json* value = object.find("chat_template");
  if (value == nullptr) return;
  if (value->is_string()) {
    metadata.set("tokenizer.chat_template", value->get<std::string>());
    return;
  }
  if (!value->is_array())
    object.fail(Status::CORRUPT, "chat_template", "must be a string or a list");
  for (const nlohmann::json& entry : *value) {
    if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
    const nlohmann::json text = entry.value("template", nlohmann::json());
    if (!text.is_string())
      object.fail(Status::CORRUPT, "chat_template", "has no text under 'default'");
    metadata.set("tokenizer.chat_template", text.get<std::string>());
  }
}

// A special token is its text, or an object that holds it as "content".
void set_token_text(const JsonObject& object, const char* key, const char* metadata_key,
                    Metadata& metadata) {
  const nlohmann::json* value = object.find(key);
  if (value == nullptr) return;
  const std::optional<std::string> text = value->is_object()
                                              ? object.find_object(key)->find_string("content")
                                              : object.find_string(key);
  if (text) metadata.set(metadata_key, *text);
}

}  // namespace

void read_hf_tokenizer_config(const std::string& folder, const JsonObject& config,
                              Metadata& metadata) {
  const JsonObject generation = read_optional(folder + "/generation_config.json");
  const JsonObject tokenizer = read_optional(folder + "/tokenizer_config.json");

  const std::vector<int64_t> eos = merged_ids(generation, config, "eos_token_id");
  if (!eos.empty()) {
    metadata.set("tokenizer.ggml.eos_token_id", eos[0]);
    metadata.set("kvinfer.eos_token_ids", eos);
  }
  const std::vector<int64_t> bos = merged_ids(generation, config, "bos_token_id");
  if (!bos.empty()) metadata.set("tokenizer.ggml.bos_token_id", bos[0]);
  const std::vector<int64_t> padding = merged_ids(generation, config, "pad_token_id");
  if (!padding.empty()) metadata.set("tokenizer.ggml.padding_token_id", padding[0]);

  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    if (std::optional<bool> value = tokenizer.find_bool(key)) {
      metadata.set(std::string("tokenizer.ggml.") + key, *value);
    }
  }
  set_token_text(tokenizer, "bos_token", "kvinfer.bos_token", metadata);
  set_token_text(tokenizer, "eos_token", "kvinfer.eos_token", metadata);

  // Newer folders keep the template in a file of its own, which wins.
  set_chat_template(tokenizer, metadata);
  if (file_exists(folder + "/chat_template.json")) {
    set_chat_template(JsonObject::read(folder + "/chat_template.json", kMaxTemplateBytes),
                      metadata);
  }
  if (file_exists(folder + "/chat_template.jinja")) {
    metadata.set("tokenizer.chat_template",
                 File::read_all(folder + "/chat_template.jinja", kMaxTemplateBytes));
  }
}

}  // namespace kvi
