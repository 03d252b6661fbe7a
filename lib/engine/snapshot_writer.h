// Writes a snapshot: header and tokens at once, then pages in the order in which it asks for them.
//
//   SnapshotWriter writer(sink, header, tokens);
//   while (auto page = writer.next()) writer.write_page(that page in the canonical layout);
//
// Holds no page. What the sink throws passes through, and the snapshot is then unfinished.
//
// Not thread-safe.
#pragma once

#include <functional>

#include "base/token_id.h"
#include "engine/snapshot_order.h"

namespace kvi {

using SnapshotSink = std::function<void(std::span<const std::byte>)>;

class SnapshotWriter {
 public:
  // Requires: header.num_tokens is that of tokens, its groups' layouts are canonical. Throws UNSUPPORTED where the
  // format has no place for something in the header, so that what was written can be read.
  SnapshotWriter(SnapshotSink sink, const SnapshotHeader& header, std::span<const TokenId> tokens);

  std::optional<SnapshotPage> next() const { return order_.page(); }  // nullopt: it is finished
  // Of the page that next() names. Slots from kv_len on should be zero: they would show what others left there.
  void write_page(std::span<const std::byte> page);

 private:
  SnapshotSink sink_;
  SnapshotOrder order_;
  uint64_t seed_ = 0;
};

}  // namespace kvi
