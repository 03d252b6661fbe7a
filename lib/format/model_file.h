// The one view that models load from, whatever the file format: metadata and tensors under GGUF names.
//
// GGUF files are taken as they are. A folder of safetensors (config.json, tokenizer.json, one or
// several shards) is translated: its hyperparameters appear under the GGUF keys and its tensors
// under the GGUF names, so that no reader above this file knows two vocabularies.
//
// Model files are hostile input: everything is checked against the real file size on open, with
// 64-bit arithmetic, and before any allocation larger than the header itself.
//
// Thread-safe after open: reads are positional.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/dtype.h"

namespace kvi {

// A metadata value. Integers of every width are int64_t or, past its range, uint64_t; arrays are homogeneous.
using MetadataValue =
    std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>,
                 std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

// Typed look-ups by key. get_* throws CORRUPT naming the key when it is missing or of another type;
// find_* returns nullptr/nullopt when it is missing, and throws when it is of another type.
class Metadata {
 public:
  Metadata() = default;
  // Not copied but shared: copying a std::variant of strings is undefined where memory runs out (libstdc++ 12).
  Metadata(const Metadata&) = delete;
  Metadata& operator=(const Metadata&) = delete;
  Metadata(Metadata&&) = default;
  Metadata& operator=(Metadata&&) = default;

  bool contains(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<int64_t> find_int(std::string_view key) const;      // integers of any width
  std::optional<double> find_float(std::string_view key) const;     // floats, and integers
  std::optional<double> find_positive(std::string_view key) const;  // CORRUPT: <= 0, infinite, NaN
  const std::string* find_string(std::string_view key) const;
  const std::vector<int64_t>* find_ints(std::string_view key) const;
  const std::vector<bool>* find_bools(std::string_view key) const;
  const std::vector<double>* find_floats(std::string_view key) const;
  const std::vector<std::string>* find_strings(std::string_view key) const;
  int64_t get_int(std::string_view key) const;
  double get_float(std::string_view key) const;
  const std::string& get_string(std::string_view key) const;

  void set(std::string key, MetadataValue value);  // replaces
  const std::map<std::string, MetadataValue, std::less<>>& all() const { return values_; }

 private:
  std::map<std::string, MetadataValue, std::less<>> values_;
};

// A tensor as a matrix of rows: weights are [out_features, in_features], row-major.
struct TensorInfo {
  std::string name;  // GGUF name: "blk.0.attn_q.weight"
  DType dtype = DType::F32;
  int64_t rows = 0;  // 1 for vectors
  int64_t cols = 0;  // a multiple of the type's block length
  uint64_t size_bytes = 0;
};

enum class ModelFormat { gguf, safetensors };

class ModelFile {
 public:
  // Opens a GGUF file, one .safetensors file, a *.safetensors.index.json, or a folder that holds one of
  // them. Throws NOT_FOUND, IO, CORRUPT or UNSUPPORTED, naming the file, the place in it and the value;
  // INVALID_ARGUMENT for a folder with several models.
  static std::unique_ptr<ModelFile> open(const std::string& path);
  virtual ~ModelFile();

  virtual ModelFormat format() const = 0;
  virtual const std::string& path() const = 0;
  virtual const std::shared_ptr<const Metadata>& shared_metadata() const = 0;
  const Metadata& metadata() const { return *shared_metadata(); }
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  virtual uint64_t size_bytes() const = 0;  // of all tensors

  // The text of tokenizer.json, or "" where the tokenizer is in the metadata (GGUF).
  virtual std::string tokenizer_json() const = 0;

  // Reads rows [first_row, first_row + num_rows) of a tensor, in its own dtype, row after row.
  // Requires: dst.size() == num_rows * row_bytes(dtype, cols). Throws IO, or CORRUPT on a file
  // that became shorter.
  virtual void read_rows(const TensorInfo& tensor, int64_t first_row, int64_t num_rows,
                         std::span<std::byte> dst) const = 0;

  const TensorInfo* find(std::string_view name) const;
  const TensorInfo& get(std::string_view name) const;  // throws CORRUPT when it is missing
};

}  // namespace kvi
