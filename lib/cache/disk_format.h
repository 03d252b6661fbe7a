// The disk tier's file format: one file a layer group, a header and an array of slots of one size.
//
//   file: [file header, kSector bytes][slot 0][slot 1]...
//   slot: [slot header, header_bytes][page, padded to whole sectors]
//
// All numbers are little-endian. A file header is right when each of its bytes is the one expected; those of
// other identities are read only to say what the folder holds besides (foreign_pages.h). A slot
// header has a checksum over all of itself, and holds one over the page; both depend on the file's identity,
// the group and the slot, and the page's also on the generation. So what lies in the wrong place, or is left
// from an older write, or is half written, is not taken for a page. Nothing here touches a file.
//
// Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/checksum.h"
#include "cache/prefix_key.h"
#include "cache/tier_store.h"

namespace kvi {

inline constexpr uint64_t kSector = 4096;  // bytes; also what a file system allocates at least

// Sizes and places in one group's file.
struct DiskFormat {
  DiskFormat(const Digest& identity, int group, const TierGroup& pages,
             const IdentityParts& parts = {});

  uint64_t offset(SlotId slot) const { return kSector + static_cast<uint64_t>(slot) * slot_bytes; }

  Digest identity;  // of model, layout and numerics: root_digest
  IdentityParts parts;
  int group;
  uint64_t page_bytes;
  int page_len;
  uint64_t header_bytes;  // of a slot
  uint64_t slot_bytes;
};

// A slot header as it was found.
struct FoundRecord {
  PageRecord record;  // record.tokens lie in the header's bytes
  uint64_t generation;
  Checksum page_checksum;
};

void encode_file_header(const DiskFormat& format, std::span<std::byte> header);  // kSector bytes
// nullopt: no file of this version, or not a right one.
std::optional<DiskFormat> decode_file_header(std::span<const std::byte> header);  // kSector bytes

Checksum page_checksum(const DiskFormat& format, SlotId slot, uint64_t generation,
                       std::span<const std::byte> page);

// header: header_bytes, aligned for int32_t. Requires: at most page_len tokens.
void encode_slot_header(const DiskFormat& format, SlotId slot, const PageRecord& record,
                        uint64_t generation, const Checksum& page, std::span<std::byte> header);
// nullopt: the slot holds nothing, or nothing of use.
std::optional<FoundRecord> decode_slot_header(const DiskFormat& format, SlotId slot,
                                              std::span<const std::byte> header);
// Makes the checksum of a slot header right, whatever is in it: the last step of encoding.
void seal_slot_header(const DiskFormat& format, SlotId slot, std::span<std::byte> header);

}  // namespace kvi
