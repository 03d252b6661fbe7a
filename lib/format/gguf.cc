#include "format/gguf.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "format/extents.h"
#include "format/file_cursor.h"

namespace kvi {
namespace {

// Far above any real model. An array of bytes becomes one of 64-bit integers, so that a hostile header
// takes up to eight times its size in memory.
constexpr uint64_t kMaxHeaderBytes = 128 << 20;
constexpr uint64_t kMaxKeys = 1 << 20;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxArrayLen = 1 << 24;
constexpr uint64_t kMaxNameBytes = 65535;  // of a key; the format's own limit
constexpr uint64_t kMaxStringBytes = 64 << 20;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDims = 4;
// Of a tensor: byte counts stay far below 2^64.
constexpr uint64_t kMaxElements = uint64_t{1} << 60;

// The smallest key: a length, one byte, a type and a one-byte value.
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
// The smallest tensor: a length, one byte, the number of dims, one dim, a type and an offset.
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

enum class ValueType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

class GgufParser {
 public:
  explicit GgufParser(const File& file) : file_(file), cursor_(file, kMaxHeaderBytes) {}

  void parse() {
    cursor_.read<uint32_t>("magic");  // ModelFile::open has seen it
    read_version();
    const uint64_t num_tensors = cursor_.read<uint64_t>("number of tensors");
    const uint64_t num_keys = cursor_.read<uint64_t>("number of metadata keys");
    check_count(num_tensors, kMaxTensors, kMinTensorBytes, "number of tensors");
    check_count(num_keys, kMaxKeys, kMinKeyBytes, "number of metadata keys");
    for (uint64_t i = 0; i < num_keys; ++i) read_key(i);
    read_alignment();
    refuse_split();
    for (uint64_t i = 0; i < num_tensors; ++i) read_tensor(i);
    place_tensors();
  }

  Metadata metadata;
  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string, uint64_t> offsets;  // by tensor name, from the start of the file

 private:
  void read_version() {
    const uint32_t version = cursor_.read<uint32_t>("version");
    if (version == 2 || version == 3) return;
    if (version == 2u << 24 || version == 3u << 24) {
      throw cursor_.error(Status::UNSUPPORTED,
                          "the file is big endian; convert it with gguf-convert-endian");
    }
    throw cursor_.error(Status::UNSUPPORTED,
                        concat("GGUF version ", version,
                               "; versions 2 and 3 are supported, convert the model again"));
  }

  void check_count(uint64_t count, uint64_t max_count, uint64_t item_bytes, const char* what) {
    cursor_.require_items(count, item_bytes, what);
    if (count > max_count) {
      throw cursor_
          .error(Status::UNSUPPORTED,
                 concat(what, " is ", count, "; at most ", max_count, " are accepted"))
          .amounts(count, max_count);
    }
  }

  std::string read_name(const char* part) {
    std::string name = cursor_.read_string(kMaxNameBytes, part);
    if (name.empty() || !is_utf8(name)) {
      throw cursor_.error(Status::CORRUPT,
                          concat(part, " ", quoted(name), " is empty or not UTF-8"));
    }
    // Printed, such a name would not be the name that look-ups find.
    if (std::any_of(name.begin(), name.end(), is_control)) {
      throw cursor_.error(Status::CORRUPT,
                          concat(part, " ", quoted(name), " holds a control character"));
    }
    return name;
  }

  void read_key(uint64_t index) {
    cursor_.set_subject(concat("metadata key number ", index));
    std::string key = read_name("name");
    cursor_.set_subject(concat("metadata key ", quoted(key)));
    if (metadata.contains(key)) throw cursor_.error(Status::CORRUPT, "appears twice");
    const uint32_t type = cursor_.read<uint32_t>("type");
    MetadataValue value = type == static_cast<uint32_t>(ValueType::array) ? read_array()
                                                                          : read_value(type);
    metadata.set(std::move(key), std::move(value));
  }

  bool read_bool() {
    const uint8_t value = cursor_.read<uint8_t>("bool");
    if (value > 1) throw cursor_.error(Status::CORRUPT, concat("a bool has the value ", value));
    return value == 1;
  }

  MetadataValue read_value(uint32_t type) {
    switch (static_cast<ValueType>(type)) {
      case ValueType::u8: return int64_t{cursor_.read<uint8_t>("value")};
      case ValueType::i8: return int64_t{cursor_.read<int8_t>("value")};
      case ValueType::u16: return int64_t{cursor_.read<uint16_t>("value")};
      case ValueType::i16: return int64_t{cursor_.read<int16_t>("value")};
      case ValueType::u32: return int64_t{cursor_.read<uint32_t>("value")};
      case ValueType::i32: return int64_t{cursor_.read<int32_t>("value")};
      case ValueType::i64: return cursor_.read<int64_t>("value");
      case ValueType::f32: return double{cursor_.read<float>("value")};
      case ValueType::f64: return cursor_.read<double>("value");
      case ValueType::boolean: return read_bool();
      case ValueType::string: return cursor_.read_string(kMaxStringBytes, "string");
      case ValueType::u64: {
        const uint64_t value = cursor_.read<uint64_t>("value");
        if (value > static_cast<uint64_t>(INT64_MAX)) return value;
        return static_cast<int64_t>(value);
      }
      case ValueType::array: break;
    }
    throw_unknown_type(type);
  }

  MetadataValue read_array() {
    const uint32_t type = cursor_.read<uint32_t>("element type");
    const uint64_t count = cursor_.read<uint64_t>("array length");
    switch (static_cast<ValueType>(type)) {
      case ValueType::u8: return read_numbers<int64_t, uint8_t>(count);
      case ValueType::i8: return read_numbers<int64_t, int8_t>(count);
      case ValueType::u16: return read_numbers<int64_t, uint16_t>(count);
      case ValueType::i16: return read_numbers<int64_t, int16_t>(count);
      case ValueType::u32: return read_numbers<int64_t, uint32_t>(count);
      case ValueType::i32: return read_numbers<int64_t, int32_t>(count);
      case ValueType::u64: return read_numbers<int64_t, uint64_t>(count);
      case ValueType::i64: return read_numbers<int64_t, int64_t>(count);
      case ValueType::f32: return read_numbers<double, float>(count);
      case ValueType::f64: return read_numbers<double, double>(count);
      case ValueType::boolean: return read_bools(count);
      case ValueType::string: return read_strings(count);
      case ValueType::array:
        throw cursor_.error(Status::UNSUPPORTED,
                            "an array of arrays; only flat arrays are supported");
    }
    throw_unknown_type(type);
  }

  template <typename Stored, typename Raw>
  std::vector<Stored> read_numbers(uint64_t count) {
    check_count(count, kMaxArrayLen, sizeof(Raw), "array length");
    std::vector<Stored> values(count);
    for (Stored& value : values) {
      const Raw raw = cursor_.read<Raw>("array");
      if constexpr (std::is_same_v<Raw, uint64_t>) {
        if (raw > static_cast<uint64_t>(INT64_MAX)) {
          throw cursor_.error(Status::UNSUPPORTED, concat("an array element is ", raw,
                                                          ", past the signed 64-bit range"));
        }
      }
      value = static_cast<Stored>(raw);
    }
    return values;
  }

  std::vector<bool> read_bools(uint64_t count) {
    check_count(count, kMaxArrayLen, 1, "array length");
    std::vector<bool> values(count);
    for (uint64_t i = 0; i < count; ++i) values[i] = read_bool();
    return values;
  }

  std::vector<std::string> read_strings(uint64_t count) {
    check_count(count, kMaxArrayLen, sizeof(uint64_t), "array length");
    std::vector<std::string> values(count);
    for (std::string& value : values) value = cursor_.read_string(kMaxStringBytes, "array string");
    return values;
  }

  [[noreturn]] void throw_unknown_type(uint32_t type) {
    throw cursor_.error(Status::CORRUPT,
                        concat("value type ", type, " is unknown; GGUF defines 0 to 12"));
  }

  void read_alignment() {
    cursor_.set_subject("metadata key 'general.alignment'");
    const int64_t value = metadata.find_int("general.alignment").value_or(kDefaultAlignment);
    if (value <= 0 || static_cast<uint64_t>(value) > kMaxAlignment ||
        !is_power_of_two(static_cast<uint64_t>(value))) {
      throw cursor_.error(
          Status::CORRUPT,
          concat("is ", value, "; it must be a power of two up to ", kMaxAlignment));
    }
    alignment_ = static_cast<uint64_t>(value);
  }

  void refuse_split() {
    const int64_t parts = metadata.find_int("split.count").value_or(1);
    if (parts <= 1) return;
    cursor_.set_subject("metadata key 'split.count'");
    throw cursor_.error(Status::UNSUPPORTED,
                        concat("the model is split into ", parts,
                               " files; merge them with llama-gguf-split --merge"));
  }

  void read_tensor(uint64_t index) {
    cursor_.set_subject(concat("tensor number ", index));
    TensorInfo tensor;
    tensor.name = read_name("name");
    cursor_.set_subject(concat("tensor ", quoted(tensor.name)));
    const std::vector<uint64_t> dims = read_dims();
    tensor.dtype = read_dtype(dims[0]);
    tensor.cols = static_cast<int64_t>(dims[0]);
    tensor.rows = 1;
    for (size_t i = 1; i < dims.size(); ++i) tensor.rows *= static_cast<int64_t>(dims[i]);
    tensor.size_bytes = static_cast<uint64_t>(tensor.rows) * row_bytes(tensor.dtype, tensor.cols);
    const uint64_t offset = cursor_.read<uint64_t>("offset");
    if (offset % alignment_ != 0) {
      throw cursor_.error(
          Status::CORRUPT,
          concat("offset ", offset, " is not a multiple of the alignment ", alignment_));
    }
    // Relative to the tensor data, whose start is known only after the last tensor's header.
    if (!offsets.emplace(tensor.name, offset).second) {
      throw cursor_.error(Status::CORRUPT, "appears twice");
    }
    tensors.push_back(std::move(tensor));
  }

  std::vector<uint64_t> read_dims() {
    const uint32_t num_dims = cursor_.read<uint32_t>("number of dimensions");
    if (num_dims == 0 || num_dims > kMaxDims) {
      throw cursor_.error(Status::CORRUPT, concat("has ", num_dims, " dimensions; 1 to ", kMaxDims,
                                                  " are possible"));
    }
    std::vector<uint64_t> dims(num_dims);
    uint64_t num_elements = 1;
    for (uint64_t& dim : dims) {
      dim = cursor_.read<uint64_t>("dimension");
      if (dim == 0 || dim > kMaxElements / num_elements) {
        throw cursor_.error(Status::CORRUPT,
                            concat("dimension ", dim, " is zero or overflows the size"));
      }
      num_elements *= dim;
    }
    return dims;
  }

  DType read_dtype(uint64_t cols) {
    const uint32_t number = cursor_.read<uint32_t>("type");
    const DTypeInfo* info = find_dtype(static_cast<int32_t>(number));
    if (info == nullptr) {
      const char* name = unsupported_dtype_name(static_cast<int32_t>(number));
      throw cursor_.error(Status::UNSUPPORTED,
                          name ? concat("type ", name, " is not supported; quantize the model to ",
                                        "another type, such as Q4_K or Q8_0")
                               : concat("type number ", number, " is unknown"));
    }
    if (cols % static_cast<uint64_t>(info->block_len) != 0) {
      throw cursor_.error(Status::CORRUPT,
                          concat("has rows of ", cols, " values, not a multiple of the ",
                                 info->block_len, " of a ", info->name, " block"));
    }
    return info->dtype;
  }

  // Turns offsets into positions in the file, and checks every extent against the real file.
  void place_tensors() {
    if (tensors.empty()) return;
    const uint64_t padding = (alignment_ - cursor_.position() % alignment_) % alignment_;
    const uint64_t begin = cursor_.position() + padding;
    const uint64_t available = begin <= file_.size() ? file_.size() - begin : 0;
    std::vector<Extent> extents;
    for (const TensorInfo& tensor : tensors) {
      uint64_t& offset = offsets.at(tensor.name);
      if (offset > available || tensor.size_bytes > available - offset) {
        cursor_.set_subject(concat("tensor ", quoted(tensor.name)));
        throw cursor_
            .error(Status::CORRUPT, concat(tensor.size_bytes, " bytes at offset ", offset,
                                           " of the tensor data, which has ", available,
                                           " bytes; the file is truncated or damaged"))
            .amounts(tensor.size_bytes, offset > available ? 0 : available - offset);
      }
      offset += begin;
      extents.push_back({tensor.name, offset, offset + tensor.size_bytes});
    }
    sort_and_check_overlap(extents, file_.path());
    refuse_trailing_bytes(extents.back().end);
  }

  // Writers end the file with the last tensor or with its padding. More means two files in one, or a
  // header that lost tensors.
  void refuse_trailing_bytes(uint64_t end) {
    if (file_.size() - end <= alignment_) return;
    cursor_.set_subject("end of the file");
    throw cursor_
        .error(Status::CORRUPT,
               concat(file_.size() - end, " bytes follow the last tensor; at most ", alignment_,
                      " of padding are expected"))
        .amounts(end + alignment_, file_.size());
  }

  const File& file_;
  FileCursor cursor_;
  uint64_t alignment_ = kDefaultAlignment;
};

class GgufFile final : public ModelFile {
 public:
  explicit GgufFile(File file) : file_(std::move(file)) {
    GgufParser parser(file_);
    parser.parse();
    metadata_ = std::make_shared<const Metadata>(std::move(parser.metadata));
    tensors_ = std::move(parser.tensors);
    offsets_ = std::move(parser.offsets);
    for (const TensorInfo& tensor : tensors_) size_bytes_ += tensor.size_bytes;
  }

  ModelFormat format() const override { return ModelFormat::gguf; }
  const std::string& path() const override { return file_.path(); }
  const std::shared_ptr<const Metadata>& shared_metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  std::string tokenizer_json() const override { return ""; }

  void read_rows(const TensorInfo& tensor, int64_t first_row, int64_t num_rows,
                 std::span<std::byte> dst) const override {
    const uint64_t row = row_bytes(tensor.dtype, tensor.cols);
    KVI_CHECK(first_row >= 0 && num_rows >= 0 && num_rows <= tensor.rows - first_row);
    KVI_CHECK(dst.size() == static_cast<uint64_t>(num_rows) * row);
    auto offset = offsets_.find(tensor.name);
    KVI_CHECK(offset != offsets_.end());
    file_.read_exact(offset->second + static_cast<uint64_t>(first_row) * row, dst);
  }

 private:
  File file_;
  std::shared_ptr<const Metadata> metadata_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, uint64_t> offsets_;  // by tensor name, from the start of the file
  uint64_t size_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ModelFile> open_gguf(File file) {
  return std::make_unique<GgufFile>(std::move(file));
}

}  // namespace kvi
