// Reads a snapshot from its first byte to its last, and believes nothing that its checksums do not.
//
// It knows the format, and no model: SnapshotReader and verify_snapshot decide what they take. Holds the header,
// and neither tokens nor pages. Damage is a return value; only the source throws.
//
// Not thread-safe.
#pragma once

#include <functional>

#include "base/checksum.h"
#include "base/token_id.h"
#include "engine/snapshot_order.h"

namespace kvi {

// Fills bytes from its beginning and says how many; fewer than fit is fine, 0 is the end.
using SnapshotSource = std::function<size_t(std::span<std::byte>)>;

class SnapshotScanner {
 public:
  explicit SnapshotScanner(SnapshotSource source) : source_(std::move(source)) {}

  // In this order. Each returns false, with a reason, where the rest cannot be read.
  bool read_header();
  // Hands on runs of tokens up to the first damaged one, but reads them all. False only at the source's end.
  bool read_tokens(const std::function<void(std::span<const TokenId>)>& take);
  // Reads the page order() names into the front of page, and advances; false, with page overwritten, where it is
  // damaged. An empty page: only checks it.
  bool read_page(std::span<std::byte> page);
  bool read_end();  // false where there is more

  const std::optional<SnapshotHeader>& header() const { return header_; }  // once it was read
  const SnapshotOrder& order() const { return *order_; }                   // requires: header()
  const SnapshotReason& reason() const { return reason_; }
  // The reason, and where windows are why no K and V are left to num_tokens tokens, that too.
  SnapshotReason reason_for(int64_t num_tokens) const;
  void stop(SnapshotStop stop, std::string text);  // the first reason stays

 private:
  bool read(std::span<std::byte> bytes, const std::string& what);

  SnapshotSource source_;
  uint64_t num_read_ = 0;
  uint64_t seed_ =
      0;  // of all checksums after the header's, so that parts of two snapshots do not mix
  std::optional<SnapshotHeader> header_;
  std::optional<SnapshotOrder> order_;
  SnapshotReason reason_ = {SnapshotStop::complete, "nothing is missing"};
};

// What comes before the header and before each page, as it lies in the file.
struct SnapshotPreamble {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
};
struct SnapshotRecord {
  uint32_t group;
  uint32_t index;
  uint64_t num_bytes;
};
static_assert(sizeof(SnapshotPreamble) == 16 && sizeof(SnapshotRecord) == 16);

template <typename T>
std::span<const std::byte> stored_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// The checksum of a run of tokens covers where it begins, though the file does not say that.
Checksum token_checksum(uint64_t seed, int64_t first, std::span<const TokenId> run);

}  // namespace kvi
