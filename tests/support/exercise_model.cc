#include "support/exercise_model.h"

#include <set>
#include <stdexcept>

#include "base/error.h"
#include "base/text.h"
#include "tensor/quant.h"

namespace kvi {
namespace {

void require(bool holds, const std::string& promise) {
  if (!holds) throw std::logic_error("broken promise: " + promise);
}

void exercise_tensor(const ModelFile& file, const TensorInfo& tensor) {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  require(tensor.rows > 0 && tensor.cols > 0, "a tensor has values");
  require(tensor.cols % info.block_len == 0, "rows are whole blocks");
  const uint64_t row = row_bytes(tensor.dtype, tensor.cols);
  require(tensor.size_bytes == row * static_cast<uint64_t>(tensor.rows),
          "the size is that of the rows");
  require(file.find(tensor.name) == &tensor, "names are unique");
  // All rows at once, then the last one by itself, which must say the same.
  std::vector<std::byte> all(tensor.size_bytes), last(row);
  file.read_rows(tensor, 0, tensor.rows, all);
  file.read_rows(tensor, tensor.rows - 1, 1, last);
  require(std::equal(last.begin(), last.end(), all.end() - static_cast<int64_t>(row)),
          "rows lie in order");
  std::vector<float> values(static_cast<size_t>(tensor.cols));
  dequantize_row(tensor.dtype, last.data(), values.data(), tensor.cols);
}

void exercise_metadata(const Metadata& metadata) {
  for (const auto& entry : metadata.all()) {
    const std::string& key = entry.first;
    int num_kinds = 0;
    auto look_up = [&](auto find) {
      try {
        num_kinds += find() ? 1 : 0;
      } catch (const Error& error) {
        require(error.status() == Status::CORRUPT, "another kind is CORRUPT");
      }
    };
    look_up([&] { return metadata.find_bool(key).has_value(); });
    look_up([&] { return metadata.find_float(key).has_value(); });
    look_up([&] { return metadata.find_string(key) != nullptr; });
    look_up([&] { return metadata.find_ints(key) != nullptr; });
    look_up([&] { return metadata.find_bools(key) != nullptr; });
    look_up([&] { return metadata.find_floats(key) != nullptr; });
    look_up([&] { return metadata.find_strings(key) != nullptr; });
    require(num_kinds == 1, "a value is of one kind");
  }
}

}  // namespace

void exercise_model(const ModelFile& file) {
  uint64_t total = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    exercise_tensor(file, tensor);
    total += tensor.size_bytes;
  }
  require(total == file.size_bytes(), "the size is that of the tensors");
  exercise_metadata(file.metadata());
}

}  // namespace kvi
