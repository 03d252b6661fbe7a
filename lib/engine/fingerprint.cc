#include "engine/fingerprint.h"

#include <type_traits>
#include <variant>
#include <vector>

#include "base/sha256.h"

namespace kvi {
namespace {

// Every field goes in with its length before it, so that no two inputs run together.
class FieldHash {
 public:
  void add(std::span<const std::byte> bytes) {
    const uint64_t size = bytes.size();
    sha_.update(std::as_bytes(std::span(&size, 1)));
    sha_.update(bytes);
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  template <typename T>
    requires std::is_arithmetic_v<T>
  void add(T value) { add(std::as_bytes(std::span(&value, 1))); }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(static_cast<uint64_t>(values.size()));
    for (const auto& value : values) add(static_cast<const T&>(value));
  }
  std::string finish() { return to_hex(sha_.finish()); }

 private:
  Sha256 sha_;
};

}  // namespace

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
  return hash.finish();
}

}  // namespace kvi
