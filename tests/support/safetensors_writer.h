// Builds small safetensors files and Hugging Face folders for tests, valid or broken.
//
// Nothing is checked, so that tests can lie.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/temp_folder.h"

namespace kvi {

class SafetensorsWriter {
 public:
  std::optional<uint64_t> header_bytes;  // written instead of the true length
  std::optional<std::string> header;     // written instead of the true JSON

  // A tensor with the true number of bytes, which count up from the tensor's index.
  SafetensorsWriter& add(const std::string& name, const std::string& dtype,
                         std::vector<uint64_t> shape);
  // An F32 tensor with these values.
  SafetensorsWriter& add_floats(const std::string& name, std::vector<uint64_t> shape,
                                const std::vector<float>& values);
  // The header's entry of a tensor, to be changed.
  nlohmann::ordered_json& entry(const std::string& name) { return entries_[name]; }
  std::string& data() { return data_; }

  std::string bytes() const;
  std::vector<std::string> names() const;

 private:
  nlohmann::ordered_json entries_ = nlohmann::ordered_json::object();
  std::string data_;
};

// config.json of a model with two layers, hidden size 8, two heads of 4, one KV head, and 16 tokens.
nlohmann::json tiny_hf_config(const std::string& model_type);
// Its tensors under Hugging Face's names: those of tiny_hf_config's Llama-like families.
SafetensorsWriter tiny_hf_tensors();

}  // namespace kvi
