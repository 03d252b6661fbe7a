#include "engine/snapshot_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they lie");

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr int kMaxPageLen = 1 << 16;
constexpr int kMaxGroups = 1 << 12;
constexpr int kMaxHeads = 1 << 20;
constexpr int kMaxDim = 1 << 20;
constexpr uint64_t kMaxPageBytes = uint64_t{1} << 40;

class FieldWriter {
 public:
  template <typename T>
  void add(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }
  void add_text(std::string_view text) {
    KVI_CHECK(text.size() <= kMaxSnapshotTextBytes);
    add(static_cast<uint32_t>(text.size()));
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Reads fields until one is wrong; from then on every read gives the least value allowed, and the first reason stays.
class FieldReader {
 public:
  FieldReader(std::span<const std::byte> rest, SnapshotReason& reason)
      : rest_(rest), reason_(reason) {}

  template <typename T>
  int64_t number(const std::string& field, int64_t least, int64_t most) {
    T value = {};
    if (!take(field, std::as_writable_bytes(std::span(&value, 1)))) return least;
    if (!std::in_range<int64_t>(value) || std::cmp_less(value, least) ||
        std::cmp_greater(value, most)) {
      fail(SnapshotStop::damaged_header,
           concat(field, " is ", value, "; expected ", least, " to ", most));
      return least;
    }
    return static_cast<int64_t>(value);
  }

  std::string text(const std::string& field) {
    const auto size = static_cast<size_t>(
        number<uint32_t>("size of " + field, 0, static_cast<int64_t>(kMaxSnapshotTextBytes)));
    std::string text(std::min(size, rest_.size()), '\0');
    if (size > rest_.size()) {
      fail_short(field, size);
    } else {
      take(field, std::as_writable_bytes(std::span(text)));
    }
    return text;
  }

  void end() {
    if (!rest_.empty()) {
      fail(SnapshotStop::damaged_header,
           concat("the header has ", rest_.size(), " bytes after its last field; expected 0"));
    }
  }

  void fail(SnapshotStop stop, std::string text) {
    if (!failed_) reason_ = {stop, std::move(text)};
    failed_ = true;
  }
  bool failed() const { return failed_; }

 private:
  bool take(const std::string& field, std::span<std::byte> to) {
    if (failed_) return false;
    if (to.size() > rest_.size()) {
      fail_short(field, to.size());
      return false;
    }
    if (!to.empty()) std::memcpy(to.data(), rest_.data(), to.size());
    rest_ = rest_.subspan(to.size());
    return true;
  }
  void fail_short(const std::string& field, size_t size) {
    fail(SnapshotStop::damaged_header,
         concat("the header ends with ", rest_.size(), " bytes at ", field, "; expected ", size));
  }

  std::span<const std::byte> rest_;
  SnapshotReason& reason_;
  bool failed_ = false;
};

// Bytes of a page with its planes one after the other, or nullopt above kMaxPageBytes. It bounds what
// canonical_layout computes with: that adds less than 64 bytes a plane.
std::optional<uint64_t> page_bytes_at_least(const PageLayout& layout) {
  uint64_t total = 0;
  for (const Plane& plane : layout.planes) {
    uint64_t bytes = row_bytes(plane.dtype, 1);
    for (int factor : {plane.num_heads, plane.dim, layout.page_len}) {
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(factor), &bytes)) return std::nullopt;
    }
    if (__builtin_add_overflow(total, bytes, &total) || total > kMaxPageBytes) return std::nullopt;
  }
  return total;
}

Plane read_plane(FieldReader& fields, const std::string& name) {
  Plane plane;
  plane.layer = static_cast<int>(fields.number<uint32_t>("layer of " + name, 0, kMaxInt));
  plane.role = static_cast<PlaneRole>(
      fields.number<uint8_t>("role of " + name, 0, std::numeric_limits<uint8_t>::max()));
  plane.first_head = static_cast<int>(
      fields.number<uint32_t>("first head of " + name, 0, kMaxHeads));
  plane.num_heads = static_cast<int>(fields.number<uint32_t>("heads of " + name, 1, kMaxHeads));
  plane.dim = static_cast<int>(fields.number<uint32_t>("dim of " + name, 1, kMaxDim));
  const int dtype = static_cast<int>(fields.number<int32_t>("dtype of " + name, 0, kMaxInt));
  if (fields.failed()) return plane;
  if (plane.role > PlaneRole::state) {
    fields.fail(SnapshotStop::other_layout,
                concat("role of ", name, " is ", static_cast<int>(plane.role), "; expected 0 to ",
                       static_cast<int>(PlaneRole::state)));
  }
  const DTypeInfo* info = find_dtype(dtype);
  if (info == nullptr || info->block_len != 1) {
    fields.fail(SnapshotStop::other_layout,
                concat("dtype of ", name, " is ", dtype, "; expected F32, F16 or BF16"));
  } else {
    plane.dtype = info->dtype;
  }
  return plane;
}

SnapshotGroup read_group(FieldReader& fields, const std::string& name, int page_len) {
  SnapshotGroup group;
  group.window = static_cast<int>(fields.number<uint32_t>("window of " + name, 0, kMaxInt));
  const auto kind = fields.number<uint8_t>("kind of " + name, 0,
                                           std::numeric_limits<uint8_t>::max());
  if (kind != static_cast<int>(PageKind::per_token)) {
    fields.fail(SnapshotStop::other_layout,
                concat("kind of ", name, " is ", kind, "; expected 0, pages of tokens"));
  }
  group.layout.page_len = page_len;
  const auto page_bytes = static_cast<uint64_t>(
      fields.number<uint64_t>("page bytes of " + name, 1, static_cast<int64_t>(kMaxPageBytes)));
  const int64_t num_planes = fields.number<uint32_t>("planes of " + name, 1, kMaxInt);
  for (int64_t i = 0; i < num_planes && !fields.failed(); ++i) {
    group.layout.planes.push_back(read_plane(fields, concat("plane ", i, " of ", name)));
  }
  if (fields.failed()) return group;
  if (!page_bytes_at_least(group.layout)) {
    fields.fail(SnapshotStop::damaged_header, concat("the planes of ", name, " need more than the ",
                                                     kMaxPageBytes, " bytes that a page may have"));
    return group;
  }
  group.layout = canonical_layout(group.layout);
  if (group.layout.page_bytes != page_bytes) {
    fields.fail(SnapshotStop::damaged_header,
                concat("page bytes of ", name, " are ", page_bytes, "; its planes give ",
                       group.layout.page_bytes));
  }
  return group;
}

}  // namespace

std::vector<std::byte> encode_snapshot_header(const SnapshotHeader& header) {
  FieldWriter fields;
  fields.add_text(header.model_fingerprint);
  fields.add_text(std::string_view(header.model_name).substr(0, kMaxSnapshotTextBytes));
  fields.add_text(header.numerics_id);
  fields.add_text(header.library_version);
  fields.add(static_cast<uint32_t>(header.page_len));
  fields.add(static_cast<uint64_t>(header.num_tokens));
  fields.add(static_cast<uint64_t>(header.kv_len));
  fields.add(static_cast<uint32_t>(header.groups.size()));
  for (const SnapshotGroup& group : header.groups) {
    fields.add(static_cast<uint32_t>(group.window));
    fields.add(static_cast<uint8_t>(group.layout.kind));
    fields.add(group.layout.page_bytes);
    fields.add(static_cast<uint32_t>(group.layout.planes.size()));
    for (const Plane& plane : group.layout.planes) {
      fields.add(static_cast<uint32_t>(plane.layer));
      fields.add(static_cast<uint8_t>(plane.role));
      fields.add(static_cast<uint32_t>(plane.first_head));
      fields.add(static_cast<uint32_t>(plane.num_heads));
      fields.add(static_cast<uint32_t>(plane.dim));
      fields.add(static_cast<int32_t>(plane.dtype));
    }
  }
  return fields.take();
}

std::optional<SnapshotHeader> decode_snapshot_header(std::span<const std::byte> bytes,
                                                     SnapshotReason& reason) {
  FieldReader fields(bytes, reason);
  SnapshotHeader header;
  header.model_fingerprint = fields.text("model fingerprint");
  header.model_name = fields.text("model name");
  header.numerics_id = fields.text("numerics id");
  header.library_version = fields.text("library version");
  header.page_len = static_cast<int>(fields.number<uint32_t>("page length", 1, kMaxPageLen));
  header.num_tokens = fields.number<uint64_t>("number of tokens", 0, kMaxInt);
  header.kv_len = fields.number<uint64_t>("number of computed positions", 0, header.num_tokens);
  const int64_t num_groups = fields.number<uint32_t>("number of groups", header.kv_len > 0 ? 1 : 0,
                                                     kMaxGroups);
  for (int64_t i = 0; i < num_groups && !fields.failed(); ++i) {
    header.groups.push_back(read_group(fields, concat("group ", i), header.page_len));
  }
  if (!fields.failed()) fields.end();
  if (fields.failed()) return std::nullopt;
  return header;
}

const char* snapshot_stop_name(SnapshotStop stop) {
  switch (stop) {
    case SnapshotStop::complete: return "complete";
    case SnapshotStop::not_a_snapshot: return "not_a_snapshot";
    case SnapshotStop::newer_version: return "newer_version";
    case SnapshotStop::damaged_header: return "damaged_header";
    case SnapshotStop::other_model: return "other_model";
    case SnapshotStop::other_layout: return "other_layout";
    case SnapshotStop::other_numerics: return "other_numerics";
    case SnapshotStop::too_long: return "too_long";
    case SnapshotStop::damaged_tokens: return "damaged_tokens";
    case SnapshotStop::damaged_page: return "damaged_page";
    case SnapshotStop::truncated: return "truncated";
    case SnapshotStop::trailing_bytes: return "trailing_bytes";
  }
  return "unknown";
}

}  // namespace kvi
