#include "support/safetensors_writer.h"

#include <cstring>

#include "support/gguf_writer.h"

namespace kvi {
namespace {

uint64_t element_bits(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 64;
  if (dtype == "F32" || dtype == "I32") return 32;
  if (dtype == "F16" || dtype == "BF16") return 16;
  return 8;
}

}  // namespace

SafetensorsWriter& SafetensorsWriter::add(const std::string& name, const std::string& dtype,
                                          std::vector<uint64_t> shape) {
  uint64_t size = element_bits(dtype) / 8;
  for (uint64_t dim : shape) size *= dim;
  entries_[name] = {
      {"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + size}}};
  for (uint64_t i = 0; i < size; ++i) data_ += static_cast<char>(entries_.size() + i * 5);
  return *this;
}

SafetensorsWriter& SafetensorsWriter::add_floats(const std::string& name,
                                                 std::vector<uint64_t> shape,
                                                 const std::vector<float>& values) {
  const size_t begin = data_.size();
  add(name, "F32", std::move(shape));
  std::memcpy(data_.data() + begin, values.data(), values.size() * sizeof(float));
  return *this;
}

std::string SafetensorsWriter::bytes() const {
  const std::string json = header.value_or(entries_.dump());
  std::string out;
  append_raw(out, header_bytes.value_or(json.size()));
  return out + json + data_;
}

std::vector<std::string> SafetensorsWriter::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_.items()) names.push_back(name);
  return names;
}

nlohmann::json tiny_hf_config(const std::string& model_type) {
  nlohmann::json config = {
      {"model_type", model_type},      {"hidden_size", 8},         {"intermediate_size", 12},
      {"num_hidden_layers", 2},        {"num_attention_heads", 2}, {"num_key_value_heads", 1},
      {"max_position_embeddings", 64}, {"vocab_size", 16},         {"head_dim", 4}};
  if (model_type == "gpt2") {
    config = {{"model_type", "gpt2"}, {"n_embd", 8},       {"n_layer", 2},
              {"n_head", 2},          {"n_positions", 64}, {"vocab_size", 16}};
  }
  return config;
}

SafetensorsWriter tiny_hf_tensors() {
  SafetensorsWriter writer;
  writer.add("model.embed_tokens.weight", "BF16", {16, 8});
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    auto add = [&](const char* name, std::vector<uint64_t> shape) {
      writer.add(layer + std::string(name), "BF16", std::move(shape));
    };
    add("input_layernorm.weight", {8});
    add("self_attn.q_proj.weight", {8, 8});
    add("self_attn.k_proj.weight", {4, 8});
    add("self_attn.v_proj.weight", {4, 8});
    add("self_attn.o_proj.weight", {8, 8});
    add("post_attention_layernorm.weight", {8});
    add("mlp.gate_proj.weight", {12, 8});
    add("mlp.up_proj.weight", {12, 8});
    add("mlp.down_proj.weight", {8, 12});
  }
  writer.add("model.norm.weight", "BF16", {8});
  writer.add("lm_head.weight", "BF16", {16, 8});
  return writer;
}

}  // namespace kvi
