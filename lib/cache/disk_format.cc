#include "cache/disk_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace kvi {
namespace {

static_assert(std::endian::native == std::endian::little, "the file format is little-endian");

constexpr uint64_t kFileMagic = 0x53454741'50564b89;  // "\x89KVPAGES"
constexpr uint64_t kSlotMagic = 0x544f4c53'50564b89;  // "\x89KVPSLOT"
constexpr uint32_t kVersion = 2;
constexpr uint64_t kMostGenerations = uint64_t{1} << 62;  // more than are ever written

struct FileHeader {
  uint64_t magic;
  uint32_t version;
  int32_t group;
  uint8_t identity[32];
  uint64_t page_bytes;
  int32_t page_len;
  uint32_t header_bytes;
  uint64_t slot_bytes;
  uint8_t model[32], layout[32], numerics[32];
  uint64_t checksum[2];
};
static_assert(sizeof(FileHeader) == 184);

struct SlotHeader {
  uint64_t checksum[2];  // of the header's other bytes
  uint64_t magic;
  uint64_t generation;
  uint8_t key[32], parent[32], scope[32];
  int32_t group, slot, first_token, num_tokens;
  uint64_t page_checksum[2];
  // num_tokens tokens follow, then zeros
};
static_assert(sizeof(SlotHeader) == 160);

constexpr int kMostPageLen = 1 << 20;
constexpr uint64_t kMostPageBytes = uint64_t{1} << 40;

constexpr uint64_t round_up(uint64_t bytes) { return (bytes + kSector - 1) / kSector * kSector; }

uint64_t slot_seed(const DiskFormat& format, SlotId slot) {
  uint64_t identity = 0;
  std::memcpy(&identity, format.identity.data(), sizeof identity);
  return random_bits(random_bits(identity, static_cast<uint64_t>(format.group)),
                     static_cast<uint64_t>(slot));
}

Checksum header_checksum(const DiskFormat& format, SlotId slot, std::span<const std::byte> header) {
  return checksum(header.subspan(sizeof SlotHeader::checksum), slot_seed(format, slot));
}

}  // namespace

DiskFormat::DiskFormat(const Digest& file_identity, int group_index, const TierGroup& pages,
                       const IdentityParts& identity_parts)
    : identity(file_identity),
      parts(identity_parts),
      group(group_index),
      page_bytes(pages.page_bytes),
      page_len(pages.page_len),
      header_bytes(round_up(sizeof(SlotHeader) + sizeof(int32_t) * pages.page_len)),
      slot_bytes(header_bytes + round_up(pages.page_bytes)) {
  KVI_CHECK(page_len > 0 && page_len <= kMostPageLen && page_bytes > 0 &&
            page_bytes <= kMostPageBytes);
}

void encode_file_header(const DiskFormat& format, std::span<std::byte> header) {
  FileHeader fields = {kFileMagic,
                       kVersion,
                       format.group,
                       {},
                       format.page_bytes,
                       format.page_len,
                       static_cast<uint32_t>(format.header_bytes),
                       format.slot_bytes,
                       {},
                       {},
                       {},
                       {}};
  std::memcpy(fields.identity, format.identity.data(), sizeof fields.identity);
  std::memcpy(fields.model, format.parts.model.data(), sizeof fields.model);
  std::memcpy(fields.layout, format.parts.layout.data(), sizeof fields.layout);
  std::memcpy(fields.numerics, format.parts.numerics.data(), sizeof fields.numerics);
  const Checksum sum = checksum(std::as_bytes(std::span(&fields, 1)), 0);
  std::memcpy(fields.checksum, sum.data(), sizeof fields.checksum);
  std::memset(header.data(), 0, header.size());
  std::memcpy(header.data(), &fields, sizeof fields);
}

// What encodes to these bytes, if anything does.
std::optional<DiskFormat> decode_file_header(std::span<const std::byte> header) {
  FileHeader fields;
  std::memcpy(&fields, header.data(), sizeof fields);
  if (fields.magic != kFileMagic || fields.version != kVersion || fields.group < 0 ||
      fields.page_len < 1 || fields.page_len > kMostPageLen || fields.page_bytes < 1 ||
      fields.page_bytes > kMostPageBytes) {
    return std::nullopt;
  }
  Digest identity;
  IdentityParts parts;
  std::memcpy(identity.data(), fields.identity, sizeof fields.identity);
  std::memcpy(parts.model.data(), fields.model, sizeof fields.model);
  std::memcpy(parts.layout.data(), fields.layout, sizeof fields.layout);
  std::memcpy(parts.numerics.data(), fields.numerics, sizeof fields.numerics);
  const DiskFormat format(identity, fields.group, {fields.page_bytes, fields.page_len}, parts);
  std::array<std::byte, kSector> expected;
  encode_file_header(format, expected);
  if (!std::ranges::equal(header, expected)) return std::nullopt;
  return format;
}

Checksum page_checksum(const DiskFormat& format, SlotId slot, uint64_t generation,
                       std::span<const std::byte> page) {
  return checksum(page, random_bits(slot_seed(format, slot), generation));
}

void encode_slot_header(const DiskFormat& format, SlotId slot, const PageRecord& record,
                        uint64_t generation, const Checksum& page, std::span<std::byte> header) {
  SlotHeader fields = {};
  fields.magic = kSlotMagic;
  fields.generation = generation;
  std::memcpy(fields.key, record.key.data(), sizeof fields.key);
  std::memcpy(fields.parent, record.parent.data(), sizeof fields.parent);
  std::memcpy(fields.scope, record.scope.data(), sizeof fields.scope);
  fields.group = format.group;
  fields.slot = slot;
  fields.first_token = record.first_token;
  fields.num_tokens = static_cast<int32_t>(record.tokens.size());
  std::memcpy(fields.page_checksum, page.data(), sizeof fields.page_checksum);
  std::memset(header.data(), 0, header.size());
  std::memcpy(header.data(), &fields, sizeof fields);
  std::memcpy(header.data() + sizeof fields, record.tokens.data(), record.tokens.size_bytes());
  seal_slot_header(format, slot, header);
}

std::optional<FoundRecord> decode_slot_header(const DiskFormat& format, SlotId slot,
                                              std::span<const std::byte> header) {
  SlotHeader fields;
  std::memcpy(&fields, header.data(), sizeof fields);
  if (fields.magic != kSlotMagic) return std::nullopt;
  const Checksum sum = header_checksum(format, slot, header);
  if (std::memcmp(fields.checksum, sum.data(), sizeof fields.checksum) != 0) return std::nullopt;
  // The checksum is no secret: who wrote this may have meant harm.
  if (fields.group != format.group || fields.slot != slot || fields.generation == 0 ||
      fields.generation > kMostGenerations || fields.num_tokens < 1 ||
      fields.num_tokens > format.page_len || fields.first_token < 0 ||
      fields.first_token > std::numeric_limits<int32_t>::max() - fields.num_tokens) {
    return std::nullopt;
  }
  FoundRecord found;
  std::memcpy(found.record.key.data(), fields.key, sizeof fields.key);
  std::memcpy(found.record.parent.data(), fields.parent, sizeof fields.parent);
  std::memcpy(found.record.scope.data(), fields.scope, sizeof fields.scope);
  found.record.group = fields.group;
  found.record.first_token = fields.first_token;
  found.record.tokens = {reinterpret_cast<const int32_t*>(header.data() + sizeof fields),
                         static_cast<size_t>(fields.num_tokens)};
  found.generation = fields.generation;
  found.page_checksum = {fields.page_checksum[0], fields.page_checksum[1]};
  return found;
}

void seal_slot_header(const DiskFormat& format, SlotId slot, std::span<std::byte> header) {
  const Checksum sum = header_checksum(format, slot, header);
  static_assert(offsetof(SlotHeader, checksum) == 0);
  std::memcpy(header.data(), sum.data(), sizeof sum);
}

}  // namespace kvi
