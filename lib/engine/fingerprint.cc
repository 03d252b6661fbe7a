#include "engine/fingerprint.h"

#include <variant>
#include <vector>

#include "base/field_hash.h"

namespace kvi {

std::string model_fingerprint(const ModelFile& file) {
  FieldHash hash;
  hash.add(std::string_view("kvinfer model 1"));
  for (const auto& [key, value] : file.metadata().all()) {
    hash.add(std::string_view(key));
    hash.add(static_cast<uint64_t>(value.index()));
    std::visit([&](const auto& v) { hash.add(v); }, value);
  }
  std::vector<std::byte> row;
  for (const TensorInfo& tensor : file.tensors()) {
    hash.add(std::string_view(tensor.name));
    hash.add(static_cast<int32_t>(tensor.dtype));
    hash.add(tensor.rows);
    hash.add(tensor.cols);
    if (tensor.rows == 0) continue;
    row.resize(row_bytes(tensor.dtype, tensor.cols));
    for (int64_t r : {int64_t{0}, tensor.rows - 1}) {
      file.read_rows(tensor, r, 1, row);
      hash.add(std::span<const std::byte>(row));
    }
  }
  return to_hex(hash.finish());
}

}  // namespace kvi
