#include "support/gguf_writer.h"

#include "tensor/quant.h"

namespace kvi {
namespace {

// Appends what it writes to the fields, when there are any to append to.
struct FieldWriter {
  std::string& out;
  std::vector<GgufField>* fields;

  template <typename T>
  void number(T value) {
    if (fields != nullptr) fields->push_back({out.size(), sizeof value});
    append_raw(out, value);
  }
  void text(std::string_view text) {
    number(uint64_t{text.size()});
    if (fields != nullptr && !text.empty()) fields->push_back({out.size(), 1});
    out += text;
  }
};

uint64_t num_elements(const std::vector<uint64_t>& dims) {
  uint64_t count = 1;
  for (uint64_t dim : dims) count *= dim;
  return count;
}

}  // namespace

void GgufWriter::append_key(std::string_view key, GgufType type) {
  FieldWriter writer{keys_, &key_fields_};
  writer.text(key);
  writer.number(static_cast<uint32_t>(type));
  ++num_added_keys_;
}

GgufWriter& GgufWriter::add_string(std::string_view key, std::string_view value) {
  append_key(key, GgufType::string);
  FieldWriter{keys_, &key_fields_}.text(value);
  return *this;
}

GgufWriter& GgufWriter::add_u32(std::string_view key, uint32_t value) {
  append_key(key, GgufType::u32);
  FieldWriter{keys_, &key_fields_}.number(value);
  return *this;
}

GgufWriter& GgufWriter::add_f32(std::string_view key, float value) {
  append_key(key, GgufType::f32);
  FieldWriter{keys_, &key_fields_}.number(value);
  return *this;
}

GgufWriter& GgufWriter::add_bool(std::string_view key, bool value) {
  append_key(key, GgufType::boolean);
  FieldWriter{keys_, &key_fields_}.number(static_cast<uint8_t>(value));
  return *this;
}

GgufWriter& GgufWriter::add_strings(std::string_view key, const std::vector<std::string>& values) {
  append_key(key, GgufType::array);
  FieldWriter writer{keys_, &key_fields_};
  writer.number(static_cast<uint32_t>(GgufType::string));
  writer.number(uint64_t{values.size()});
  for (const std::string& value : values) writer.text(value);
  return *this;
}

GgufWriter& GgufWriter::add_floats(std::string_view key, const std::vector<float>& values) {
  append_key(key, GgufType::array);
  FieldWriter writer{keys_, &key_fields_};
  writer.number(static_cast<uint32_t>(GgufType::f32));
  writer.number(uint64_t{values.size()});
  for (float value : values) append_raw(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_ints(std::string_view key, const std::vector<int32_t>& values) {
  append_key(key, GgufType::array);
  FieldWriter writer{keys_, &key_fields_};
  writer.number(static_cast<uint32_t>(GgufType::i32));
  writer.number(uint64_t{values.size()});
  for (int32_t value : values) append_raw(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_raw(std::string_view key, uint32_t type, std::string_view bytes) {
  append_key(key, static_cast<GgufType>(type));
  keys_ += bytes;
  return *this;
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, DType dtype, std::vector<uint64_t> dims) {
  const int64_t cols = static_cast<int64_t>(dims[0]);
  std::string bytes(num_elements(dims) / dims[0] * row_bytes(dtype, cols), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(tensors_.size() + i * 7);
  return add({std::string(name), std::move(dims), static_cast<uint32_t>(dtype), bytes, {}, {}});
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, DType dtype, std::vector<uint64_t> dims,
                                   const std::vector<float>& values) {
  const int64_t count = static_cast<int64_t>(values.size());
  std::string bytes(row_bytes(dtype, count), '\0');
  quantize_row(dtype, values.data(), reinterpret_cast<std::byte*>(bytes.data()), count);
  return add({std::string(name), std::move(dims), static_cast<uint32_t>(dtype), bytes, {}, {}});
}

GgufWriter& GgufWriter::add(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return *this;
}

std::string GgufWriter::bytes(std::vector<GgufField>* fields) const {
  std::string out = "GGUF";
  FieldWriter writer{out, fields};
  writer.number(version);
  writer.number(num_tensors.value_or(tensors_.size()));
  writer.number(num_keys.value_or(num_added_keys_));
  if (fields != nullptr) {
    for (const GgufField& field : key_fields_)
      fields->push_back({out.size() + field.offset, field.size});
  }
  out += keys_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    writer.text(tensor.name);
    writer.number(tensor.num_dims.value_or(static_cast<uint32_t>(tensor.dims.size())));
    for (uint64_t dim : tensor.dims) writer.number(dim);
    writer.number(tensor.type);
    writer.number(tensor.offset.value_or(offset));
    offset += (tensor.bytes.size() + alignment - 1) / alignment * alignment;
  }
  for (const Tensor& tensor : tensors_) {
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    out += tensor.bytes;
  }
  return out;
}

GgufWriter gguf_with_everything() {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama")
      .add_u32("general.alignment", 32)
      .add_u32("llama.block_count", 1)
      .add_f32("llama.rope.freq_base", 10000)
      .add_bool("tokenizer.ggml.add_bos_token", true)
      .add_strings("tokenizer.ggml.tokens", {"a", "b", "", "\xff"})
      .add_floats("tokenizer.ggml.scores", {0.5f, -1, 0, 2})
      .add_ints("tokenizer.ggml.token_type", {1, -3, 6, 2});
  uint64_t index = 0;
  for (DType dtype :
       {DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q5_0,
        DType::Q5_1, DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K}) {
    std::vector<uint64_t> dims = {256};
    if (index % 2 == 1) dims.push_back(2);
    if (index % 4 == 3) dims.push_back(2);
    writer.add_tensor("blk.0.t" + std::to_string(index++), dtype, dims);
  }
  return writer;
}

}  // namespace kvi
