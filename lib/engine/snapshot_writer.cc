#include "engine/snapshot_writer.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "engine/snapshot_scanner.h"

namespace kvi {

SnapshotWriter::SnapshotWriter(SnapshotSink sink, const SnapshotHeader& header,
                               std::span<const TokenId> tokens)
    : sink_(std::move(sink)), order_(header) {
  KVI_CHECK(header.num_tokens == std::ssize(tokens) && header.kv_len <= header.num_tokens);
  const std::vector<std::byte> bytes = encode_snapshot_header(header);
  KVI_CHECK(bytes.size() <= kMaxSnapshotHeaderBytes);
  SnapshotPreamble preamble = {.magic = {},
                               .version = kSnapshotVersion,
                               .header_bytes = static_cast<uint32_t>(bytes.size())};
  std::memcpy(preamble.magic, kSnapshotMagic, sizeof kSnapshotMagic);
  RunningChecksum checksum;
  checksum.update(bytes_of(preamble));
  checksum.update(bytes);
  seed_ = checksum.value()[0];
  sink_(bytes_of(preamble));
  sink_(bytes);
  sink_(bytes_of(checksum.value()));
  for (int64_t first = 0; first < header.num_tokens; first += kSnapshotRunLen) {
    const auto run = tokens.subspan(
        static_cast<size_t>(first),
        static_cast<size_t>(std::min<int64_t>(kSnapshotRunLen, header.num_tokens - first)));
    sink_(std::as_bytes(run));
    sink_(bytes_of(token_checksum(seed_, first, run)));
  }
}

void SnapshotWriter::write_page(std::span<const std::byte> page) {
  const std::optional<SnapshotPage> next = order_.page();
  KVI_CHECK(next && page.size() == next->num_bytes);
  const SnapshotRecord record = {static_cast<uint32_t>(next->group),
                                 static_cast<uint32_t>(next->index), next->num_bytes};
  RunningChecksum checksum(seed_);
  checksum.update(bytes_of(record));
  checksum.update(page);
  sink_(bytes_of(record));
  sink_(bytes_of(checksum.value()));
  sink_(page);
  order_.advance();
}

}  // namespace kvi
