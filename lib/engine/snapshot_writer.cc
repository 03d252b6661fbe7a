#include "engine/snapshot_writer.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "engine/snapshot_scanner.h"

namespace kvi {

SnapshotWriter::SnapshotWriter(SnapshotSink sink, const SnapshotHeader& header,
                               std::span<const TokenId> tokens)
    : sink_(std::move(sink)), order_(header) {
  KVI_CHECK(header.num_tokens == std::ssize(tokens) && header.kv_len <= header.num_tokens);
  const std::vector<std::byte> bytes = encode_snapshot_header(header);
  SnapshotReason reason;
  if (!decode_snapshot_header(bytes, reason) || bytes.size() > kMaxSnapshotHeaderBytes) {
    throw Error(Status::UNSUPPORTED,
                concat("no snapshot of this sequence can be written: ",
                       reason.text.empty() ? "its header is too large" : reason.text));
  }
  SnapshotPreamble preamble = {.magic = {},
                               .version = kSnapshotVersion,
                               .header_bytes = static_cast<uint32_t>(bytes.size())};
  std::memcpy(preamble.magic, kSnapshotMagic, sizeof kSnapshotMagic);
  RunningChecksum checksum;
  checksum.update(stored_bytes(preamble));
  checksum.update(bytes);
  seed_ = checksum.value()[0];
  sink_(stored_bytes(preamble));
  sink_(bytes);
  sink_(stored_bytes(checksum.value()));
  for (int64_t first = 0; first < header.num_tokens; first += kSnapshotRunLen) {
    const auto run = tokens.subspan(
        static_cast<size_t>(first),
        static_cast<size_t>(std::min<int64_t>(kSnapshotRunLen, header.num_tokens - first)));
    sink_(std::as_bytes(run));
    sink_(stored_bytes(token_checksum(seed_, first, run)));
  }
}

void SnapshotWriter::write_page(std::span<const std::byte> page) {
  const std::optional<SnapshotPage> next = order_.page();
  KVI_CHECK(next && page.size() == next->num_bytes);
  const SnapshotRecord record = {static_cast<uint32_t>(next->group),
                                 static_cast<uint32_t>(next->index), next->num_bytes};
  RunningChecksum checksum(seed_);
  checksum.update(stored_bytes(record));
  checksum.update(page);
  sink_(stored_bytes(record));
  sink_(stored_bytes(checksum.value()));
  sink_(page);
  order_.advance();
}

}  // namespace kvi
