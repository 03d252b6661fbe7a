// Builds small GGUF files in memory for tests: valid ones, and broken ones field by field.
//
// Fields are written in the order of the calls; nothing is checked, so that tests can lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace kvi {

// Little-endian bytes.
template <typename T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

enum class GgufType : uint32_t {
  u8 = 0,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// A number inside the header, as a target for mutations.
struct GgufField {
  size_t offset = 0;  // bytes
  size_t size = 0;    // 4 or 8 bytes; 1 for a byte of text
};

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // innermost first: {cols, rows}
    uint32_t type = 0;
    std::string bytes;                 // the data; may be shorter than the type and dims say
    std::optional<uint64_t> offset;    // written instead of the true one
    std::optional<uint32_t> num_dims;  // written instead of dims.size()
  };

  uint32_t version = 3;
  uint64_t alignment =
      32;  // of the tensor data; call add_u32("general.alignment") to declare another
  std::optional<uint64_t> num_keys, num_tensors;  // written instead of the true ones

  GgufWriter& add_string(std::string_view key, std::string_view value);
  GgufWriter& add_u32(std::string_view key, uint32_t value);
  GgufWriter& add_f32(std::string_view key, float value);
  GgufWriter& add_bool(std::string_view key, bool value);
  GgufWriter& add_strings(std::string_view key, const std::vector<std::string>& values);
  GgufWriter& add_floats(std::string_view key, const std::vector<float>& values);
  GgufWriter& add_ints(std::string_view key, const std::vector<int32_t>& values);
  // A value given as its bytes.
  GgufWriter& add_raw(std::string_view key, uint32_t type, std::string_view bytes);

  // A tensor of the given type with the true number of bytes, which count up from the tensor's index.
  GgufWriter& add_tensor(std::string_view name, DType dtype, std::vector<uint64_t> dims);
  // The same with the values rounded to the type.
  GgufWriter& add_tensor(std::string_view name, DType dtype, std::vector<uint64_t> dims,
                         const std::vector<float>& values);
  GgufWriter& add(Tensor tensor);

  // The file. The last byte belongs to the last tensor: no padding follows it.
  std::string bytes() const { return bytes(nullptr); }
  // The same, with the place of every count, length, type, dimension and offset, and of a byte of every text.
  std::string bytes(std::vector<GgufField>* fields) const;

 private:
  void append_key(std::string_view key, GgufType type);

  std::string keys_;
  std::vector<GgufField> key_fields_;  // offsets from the start of keys_
  uint64_t num_added_keys_ = 0;
  std::vector<Tensor> tensors_;
};

// A small file with keys of the kinds that models have and a tensor of every type.
GgufWriter gguf_with_everything();

}  // namespace kvi
