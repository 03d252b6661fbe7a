#include "support/gguf_writer.h"

#include "tensor/quant.h"

namespace kvi {
namespace {

void append_string(std::string& out, std::string_view text) {
  append_raw(out, uint64_t{text.size()});
  out += text;
}

uint64_t num_elements(const std::vector<uint64_t>& dims) {
  uint64_t count = 1;
  for (uint64_t dim : dims) count *= dim;
  return count;
}

}  // namespace

void GgufWriter::append_key(std::string_view key, GgufType type) {
  append_string(keys_, key);
  append_raw(keys_, static_cast<uint32_t>(type));
  ++num_added_keys_;
}

GgufWriter& GgufWriter::add_string(std::string_view key, std::string_view value) {
  append_key(key, GgufType::string);
  append_string(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_u32(std::string_view key, uint32_t value) {
  append_key(key, GgufType::u32);
  append_raw(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_f32(std::string_view key, float value) {
  append_key(key, GgufType::f32);
  append_raw(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_bool(std::string_view key, bool value) {
  append_key(key, GgufType::boolean);
  append_raw(keys_, static_cast<uint8_t>(value));
  return *this;
}

GgufWriter& GgufWriter::add_strings(std::string_view key, const std::vector<std::string>& values) {
  append_key(key, GgufType::array);
  append_raw(keys_, static_cast<uint32_t>(GgufType::string));
  append_raw(keys_, uint64_t{values.size()});
  for (const std::string& value : values) append_string(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_floats(std::string_view key, const std::vector<float>& values) {
  append_key(key, GgufType::array);
  append_raw(keys_, static_cast<uint32_t>(GgufType::f32));
  append_raw(keys_, uint64_t{values.size()});
  for (float value : values) append_raw(keys_, value);
  return *this;
}

GgufWriter& GgufWriter::add_ints(std::string_view key, const std::vector<int32_t>& values) {
  append_key(key, GgufType::array);
  append_raw(keys_, static_cast<uint32_t>(GgufType::i32));
  append_raw(keys_, uint64_t{values.size()});
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

std::string GgufWriter::bytes() const {
  std::string out = "GGUF";
  append_raw(out, version);
  append_raw(out, num_tensors.value_or(tensors_.size()));
  append_raw(out, num_keys.value_or(num_added_keys_));
  out += keys_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append_raw(out, tensor.num_dims.value_or(static_cast<uint32_t>(tensor.dims.size())));
    for (uint64_t dim : tensor.dims) append_raw(out, dim);
    append_raw(out, tensor.type);
    append_raw(out, tensor.offset.value_or(offset));
    offset += (tensor.bytes.size() + alignment - 1) / alignment * alignment;
  }
  for (const Tensor& tensor : tensors_) {
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    out += tensor.bytes;
  }
  return out;
}

}  // namespace kvi
