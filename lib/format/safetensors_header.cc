#include "format/safetensors_header.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/error.h"
#include "base/text.h"
#include "format/extents.h"

namespace kvi {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own limit
constexpr size_t kMaxDims = 8;
constexpr uint64_t kMaxElements = uint64_t{1} << 58;  // of a tensor: bit counts stay below 2^64

struct ElementType {
  std::string_view name;
  uint64_t bits;
};

constexpr ElementType kElementTypes[] = {
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},      {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
    {"U16", 16},    {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32},    {"I64", 64}, {"U64", 64},    {"F64", 64},    {"C64", 64},
};

// Takes the header apart as it is parsed: {"name": {"dtype": "F32", "shape": [2, 3],
// "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}. Nothing else is accepted, so a
// hostile header can neither nest nor hide a key behind a second one of the same name.
class HeaderSax : public nlohmann::json_sax<json> {
 public:
  explicit HeaderSax(const std::string& path) : path_(path) {}

  std::vector<SafetensorsEntry> entries;  // data_offsets in begin and end, relative to the data

  bool start_object(size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top_value) {
      place_ = is_metadata_ ? Place::metadata : Place::tensor;
    } else {
      throw_misplaced("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::top) {
      if (!names_.insert(name).second) fail(concat("tensor ", kvi::quoted(name), " appears twice"));
      is_metadata_ = name == "__metadata__";
      tensor_ = {};
      tensor_.name = name;
      seen_ = {};
      place_ = Place::top_value;
    } else if (place_ == Place::tensor) {
      field_ = name == "dtype" ? 0 : name == "shape" ? 1 : name == "data_offsets" ? 2 : -1;
      if (field_ < 0) fail_tensor(concat("has an unknown field ", kvi::quoted(name)));
      if (seen_[field_]) fail_tensor(concat("has the field ", kvi::quoted(name), " twice"));
      seen_[field_] = true;
      place_ = Place::field;
    }
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) return true;
    if (place_ != Place::field || field_ != 0) throw_misplaced("a string");
    tensor_.dtype = text;
    place_ = Place::tensor;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::field || field_ == 0) throw_misplaced("an array");
    numbers_.clear();
    place_ = Place::numbers;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::numbers || numbers_.size() == kMaxDims) throw_misplaced("a number");
    numbers_.push_back(value);
    return true;
  }

  bool end_array() override {
    if (field_ == 1) {
      for (uint64_t dim : numbers_) {
        if (dim > kMaxElements) fail_tensor(concat("has a dimension of ", dim));
        tensor_.shape.push_back(static_cast<int64_t>(dim));
      }
    } else {
      if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
        fail_tensor("has data_offsets that are not [begin, end]");
      }
      tensor_.begin = numbers_[0];
      tensor_.end = numbers_[1];
    }
    place_ = Place::tensor;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      if (!(seen_[0] && seen_[1] && seen_[2])) fail_tensor("lacks dtype, shape or data_offsets");
      entries.push_back(std::move(tensor_));
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool null() override { throw_misplaced("null"); }
  bool boolean(bool) override { throw_misplaced("a bool"); }
  bool number_integer(number_integer_t) override { throw_misplaced("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { throw_misplaced("a fraction"); }
  bool binary(binary_t&) override { throw_misplaced("binary"); }

  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    fail(concat("is not JSON at byte ", kLengthBytes + position, ": ",
                kvi::quoted(error.what(), 200)));
  }

 private:
  enum class Place { outside, top, top_value, metadata, tensor, field, numbers };

  [[noreturn]] void fail(const std::string& text) const {
    throw Error(Status::CORRUPT, concat(kvi::quoted(path_, 400), ": header: ", text));
  }
  [[noreturn]] void fail_tensor(const std::string& text) const {
    fail(concat("tensor ", kvi::quoted(tensor_.name), " ", text));
  }
  [[noreturn]] void throw_misplaced(const char* what) const {
    if (place_ == Place::outside || place_ == Place::top) fail("is not a JSON object");
    fail_tensor(concat("has ", what, " where none is possible"));
  }

  const std::string& path_;
  Place place_ = Place::outside;
  bool is_metadata_ = false;
  int field_ = -1;  // of the tensor: 0 dtype, 1 shape, 2 data_offsets
  std::array<bool, 3> seen_ = {};
  SafetensorsEntry tensor_;
  std::vector<uint64_t> numbers_;
  std::set<std::string> names_;
};

class HeaderReader {
 public:
  explicit HeaderReader(const File& file) : file_(file) {}

  std::vector<SafetensorsEntry> read() {
    const std::string text = read_text();
    HeaderSax sax(file_.path());
    json::sax_parse(text, &sax);
    std::vector<Extent> extents;
    for (SafetensorsEntry& entry : sax.entries) {
      check_size(entry);
      entry.begin += data_begin_;
      entry.end += data_begin_;
      extents.push_back({entry.name, entry.begin, entry.end});
    }
    check_filled(extents);
    std::sort(sax.entries.begin(), sax.entries.end(), [](const auto& a, const auto& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    return std::move(sax.entries);
  }

 private:
  std::string read_text() {
    if (file_.size() < kLengthBytes)
      fail(concat("has ", file_.size(), " bytes, too few for a header"));
    uint64_t length = 0;
    file_.read_exact(0, std::as_writable_bytes(std::span(&length, 1)));
    if (length > file_.size() - kLengthBytes) {
      fail(concat("says that its header has ", length, " bytes, but ", file_.size() - kLengthBytes,
                  " follow; the file is truncated or no safetensors"));
    }
    if (length > kMaxHeaderBytes) {
      throw Error(Status::UNSUPPORTED,
                  concat(kvi::quoted(file_.path(), 400), " has a header of ", length,
                         " bytes; at most ", kMaxHeaderBytes, " are accepted"))
          .amounts(length, kMaxHeaderBytes);
    }
    std::string text(length, '\0');
    file_.read_exact(kLengthBytes, std::as_writable_bytes(std::span(text)));
    if (text.empty() || text[0] != '{') fail("has a header that is not a JSON object");
    data_begin_ = kLengthBytes + length;
    return text;
  }

  void check_size(const SafetensorsEntry& entry) {
    const uint64_t data_bytes = file_.size() - data_begin_;
    if (entry.end > data_bytes) {
      fail_tensor(entry, concat("ends at byte ", entry.end, " of the data, which has ", data_bytes,
                                "; the file is truncated or damaged"));
    }
    const ElementType* type = std::find_if(
        std::begin(kElementTypes), std::end(kElementTypes),
        [&](const ElementType& t) { return t.name == entry.dtype; });
    if (type == std::end(kElementTypes)) {
      throw Error(Status::UNSUPPORTED,
                  concat(kvi::quoted(file_.path(), 400), ": tensor ", kvi::quoted(entry.name),
                         " has the unknown dtype ", kvi::quoted(entry.dtype)));
    }
    uint64_t count = 1;
    for (int64_t dim : entry.shape) {
      if (dim != 0 && count > kMaxElements / static_cast<uint64_t>(dim)) {
        fail_tensor(entry, "has a shape that overflows");
      }
      count *= static_cast<uint64_t>(dim);
    }
    if (count * type->bits != (entry.end - entry.begin) * 8) {
      fail_tensor(entry, concat("has ", entry.end - entry.begin, " bytes, but its shape holds ",
                                count, " values of ", entry.dtype));
    }
  }

  // The format allows no holes, so a byte that belongs to no tensor is a sign of damage.
  void check_filled(std::vector<Extent>& extents) {
    sort_and_check_overlap(extents, file_.path());
    uint64_t end = data_begin_;
    for (const Extent& extent : extents) {
      if (extent.begin > end) {
        fail(concat("has a hole of ", extent.begin - end, " bytes before tensor ",
                    kvi::quoted(extent.name)));
      }
      end = std::max(end, extent.end);
    }
    if (end != file_.size())
      fail(concat("has ", file_.size() - end, " bytes after the last tensor"));
  }

  [[noreturn]] void fail(const std::string& text) {
    throw Error(Status::CORRUPT, concat(kvi::quoted(file_.path(), 400), " ", text));
  }
  [[noreturn]] void fail_tensor(const SafetensorsEntry& entry, const std::string& text) {
    throw Error(Status::CORRUPT, concat(kvi::quoted(file_.path(), 400), ": tensor ",
                                        kvi::quoted(entry.name), " ", text));
  }

  const File& file_;
  uint64_t data_begin_ = 0;
};

}  // namespace

std::vector<SafetensorsEntry> read_safetensors_header(const File& file) {
  return HeaderReader(file).read();
}

}  // namespace kvi
