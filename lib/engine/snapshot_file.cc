#include "engine/snapshot_file.h"

#include <algorithm>
#include <memory>

#include "base/file.h"

namespace kvi {
namespace {

// Saturates: a hostile header may claim more than there are bytes in the world.
uint64_t claimed_bytes(const SnapshotHeader& header, const SnapshotOrder& order) {
  uint64_t total = sizeof(SnapshotPreamble) + encode_snapshot_header(header).size();
  const uint64_t num_runs = (static_cast<uint64_t>(header.num_tokens) + kSnapshotRunLen - 1) /
                            kSnapshotRunLen;
  total += static_cast<uint64_t>(header.num_tokens) * sizeof(TokenId);
  total += (1 + num_runs) * sizeof(RunningChecksum::Value);
  for (size_t g = 0; g < header.groups.size(); ++g) {
    const uint64_t page = header.groups[g].layout.page_bytes + sizeof(SnapshotRecord) +
                          sizeof(RunningChecksum::Value);
    uint64_t pages;
    if (__builtin_mul_overflow(page, order.num_pages_of(static_cast<int>(g)), &pages) ||
        __builtin_add_overflow(total, pages, &total)) {
      return UINT64_MAX;
    }
  }
  return total;
}

SnapshotFacts facts_of(SnapshotScanner& scanner) {
  SnapshotFacts facts;
  if (scanner.read_header()) {
    facts.header = scanner.header();
    facts.num_pages = scanner.order().num_pages();
    facts.num_bytes = claimed_bytes(*facts.header, scanner.order());
  }
  facts.reason = scanner.reason();
  return facts;
}

}  // namespace

SnapshotSource snapshot_source(const std::string& path) {
  return [file = std::make_shared<File>(path),
          offset = uint64_t{0}](std::span<std::byte> bytes) mutable -> size_t {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), file->size() - offset));
    file->read_exact(offset, bytes.first(n));
    offset += n;
    return n;
  };
}

SnapshotSink snapshot_sink(ReplacementFile& file) {
  return [&file](std::span<const std::byte> bytes) { file.write(bytes); };
}

SnapshotFacts inspect_snapshot(SnapshotSource source) {
  SnapshotScanner scanner(std::move(source));
  return facts_of(scanner);
}

SnapshotCheck verify_snapshot(SnapshotSource source) {
  SnapshotScanner scanner(std::move(source));
  SnapshotCheck check;
  check.facts = facts_of(scanner);
  if (check.facts.header) {
    const bool all_there = scanner.read_tokens(
        [&](std::span<const TokenId> run) { check.num_tokens += std::ssize(run); });
    if (all_there) {
      while (scanner.order().page() && scanner.read_page({})) ++check.num_pages;
      if (!scanner.order().page()) scanner.read_end();
    }
    check.kv_len = scanner.order().usable_len(check.num_tokens);
  }
  check.reason = scanner.reason_for(check.num_tokens);
  return check;
}

}  // namespace kvi
