// What a snapshot says about itself: the header of the file, and why a reader took no more of one.
//
// A snapshot is one sequence: header, tokens, and its pages in the canonical layout. All numbers are little-endian:
//   magic[8] | version u32 | size of header u32 | header | checksum u64[2]
//   tokens i32, a checksum u64[2] after each run of up to kSnapshotRunLen
//   per page, in SnapshotOrder: group u32 | index u32 | bytes u64 | checksum u64[2] | page
// The header, with texts as u32 and so many bytes:
//   model fingerprint, model name, numerics id, library version | page_len u32 | num_tokens u64 | kv_len u64 |
//   groups u32; each: window u32 | kind u8 | page bytes u64 | planes u32; each: layer u32 | role u8 | first head u32 |
//   heads u32 | dim u32 | dtype i32
// The first checksum is of all before it. Its low half is the seed of the others: those of tokens are of the run's
// first position as i64 and the run, those of pages of the 16 bytes before them and the page.
// Magic, version, size and checksum of the header stay so in every version. Checksums are XXH3-128: they find
// damage, and no forgery, so pages read belong to the reader's own sequence and are no one else's prefix.
//
// Files are hostile input: decode_snapshot_header trusts nothing, and allocates in proportion to its input.
//
// Thread-safe: values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/layout.h"

namespace kvi {

inline constexpr char kSnapshotMagic[8] = {'\x89', 'K', 'V', 'S', '\r', '\n', '\x1a', '\n'};
inline constexpr uint32_t kSnapshotVersion = 1;
inline constexpr uint32_t kMaxSnapshotHeaderBytes = 1 << 20;
inline constexpr size_t kMaxSnapshotTextBytes = 4096;  // of each text in the header
inline constexpr int kSnapshotRunLen = 1024;           // tokens

enum class SnapshotStop : uint8_t {
  complete,
  not_a_snapshot,  // wrong magic
  newer_version,   // of the format
  damaged_header,  // its checksum, or a field out of range
  other_model,     // nothing of it can be used
  other_layout,    // tokens can be used, pages cannot
  other_numerics,  // as other_layout
  too_long,        // for the running model
  damaged_tokens,
  damaged_page,
  truncated,
  trailing_bytes,  // after the last page; all before them is valid
};

// Why a reader took no more, for people: text names the field, what was found and what was expected.
struct SnapshotReason {
  SnapshotStop stop = SnapshotStop::complete;
  std::string text;
};

// As LayerGroup, but canonical.
struct SnapshotGroup {
  int window = 0;  // tokens; 0: all
  PageLayout layout;
};

struct SnapshotHeader {
  std::string model_fingerprint;
  std::string model_name;  // for people
  std::string numerics_id;
  std::string library_version;
  int page_len = 0;  // tokens
  int64_t num_tokens = 0;
  int64_t kv_len = 0;  // positions [0, kv_len) were computed; pages hold those that the groups keep
  std::vector<SnapshotGroup> groups;
};

// Cuts model_name to what fits. Requires: a header that decode_snapshot_header accepts.
std::vector<std::byte> encode_snapshot_header(const SnapshotHeader& header);

// Nullopt with the reason where a field is out of range, or names what this version does not know.
std::optional<SnapshotHeader> decode_snapshot_header(std::span<const std::byte> bytes,
                                                     SnapshotReason& reason);

const char* snapshot_stop_name(SnapshotStop stop);  // "damaged_page"

}  // namespace kvi
