// Snapshots for tests and fuzzers: made from a seed, with everything that a reader should give back.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/snapshot_file.h"

namespace kvi {

struct SnapshotSample {
  SnapshotHeader header;
  std::vector<TokenId> tokens;
  std::map<std::pair<int, int>, std::vector<std::byte>> pages;  // by group and index
  std::string bytes;                                            // of the snapshot
  std::vector<size_t> record_begins;                            // of each page, and the end

  SnapshotTarget target() const {
    return {.model_fingerprint = header.model_fingerprint,
            .numerics_id = header.numerics_id,
            .page_len = header.page_len,
            .groups = header.groups,
            .max_tokens = 100'000,
            .vocab_size = 1000};
  }
};

inline SnapshotSink sink_into(std::string& bytes) {
  return [&bytes](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  };
}

// Gives at most max_piece bytes at once.
inline SnapshotSource source_of(const std::string& bytes, size_t max_piece = SIZE_MAX) {
  return [&bytes, max_piece, offset = size_t{0}](std::span<std::byte> to) mutable {
    const size_t n = std::min({to.size(), max_piece, bytes.size() - offset});
    std::memcpy(to.data(), bytes.data() + offset, n);
    offset += n;
    return n;
  };
}

// Uneven planes; windows[g] is that of group g.
inline SnapshotHeader sample_header(int page_len, int64_t num_tokens, int64_t kv_len,
                                    const std::vector<int>& windows) {
  SnapshotHeader header = {.model_fingerprint = std::string(64, 'a'),
                           .model_name = "a model",
                           .numerics_id = "cpu-1",
                           .library_version = "0.1.0",
                           .page_len = page_len,
                           .num_tokens = num_tokens,
                           .kv_len = kv_len,
                           .groups = {}};
  int layer = 0;
  for (int window : windows) {
    const std::vector<KvLayerShape> layers = {{layer, 1, 3, 2, DType::F16, DType::F32},
                                              {layer + 2, 2, 1, 3, DType::BF16, DType::F16}};
    header.groups.push_back({window, canonical_layout(layers, page_len)});
    ++layer;
  }
  return header;
}

inline SnapshotSample make_snapshot(const SnapshotHeader& header, uint64_t seed) {
  std::mt19937_64 random(seed);
  SnapshotSample sample;
  sample.header = header;
  for (int64_t i = 0; i < header.num_tokens; ++i) {
    sample.tokens.push_back(static_cast<TokenId>(random() % 1000));
  }
  SnapshotWriter writer(sink_into(sample.bytes), header, sample.tokens);
  while (const auto page = writer.next()) {
    auto& content = sample.pages[{page->group, page->index}];
    content.resize(page->num_bytes);
    for (std::byte& b : content) b = static_cast<std::byte>(random());
    sample.record_begins.push_back(sample.bytes.size());
    writer.write_page(content);
  }
  sample.record_begins.push_back(sample.bytes.size());
  return sample;
}

// A snapshot's beginning with a checksum that holds, whatever the header is.
inline std::string sealed_header(std::span<const std::byte> header, uint32_t version) {
  SnapshotPreamble preamble = {
      .magic = {}, .version = version, .header_bytes = static_cast<uint32_t>(header.size())};
  std::memcpy(preamble.magic, kSnapshotMagic, sizeof kSnapshotMagic);
  RunningChecksum checksum;
  checksum.update(stored_bytes(preamble));
  checksum.update(header);
  std::string bytes;
  const SnapshotSink sink = sink_into(bytes);
  sink(stored_bytes(preamble));
  sink(header);
  sink(stored_bytes(checksum.value()));
  return bytes;
}

}  // namespace kvi
