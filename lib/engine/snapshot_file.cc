#include "engine/snapshot_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

// Saturates: a hostile header may claim more than there are bytes in the world.
uint64_t claimed_bytes(const SnapshotHeader& header, const SnapshotOrder& order) {
  uint64_t total = sizeof(SnapshotPreamble) + encode_snapshot_header(header).size();
  const uint64_t num_runs = (static_cast<uint64_t>(header.num_tokens) + kSnapshotRunLen - 1) /
                            kSnapshotRunLen;
  total += static_cast<uint64_t>(header.num_tokens) * sizeof(TokenId);
  total += (1 + num_runs) * sizeof(Checksum);
  for (size_t g = 0; g < header.groups.size(); ++g) {
    const uint64_t page = header.groups[g].layout.page_bytes + sizeof(SnapshotRecord) +
                          sizeof(Checksum);
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

SnapshotSource snapshot_source(const std::string& path, const std::shared_ptr<FileSystem>& files) {
  IoResult<std::unique_ptr<OpenFile>> opened = files->open(path, OpenMode::read_named);
  if (!opened.ok()) {
    const bool is_none = opened.error == ENOENT || opened.error == ENOTDIR;
    const bool is_no_file = opened.error == EISDIR || opened.error == EINVAL;
    throw Error(is_none      ? Status::NOT_FOUND
                : is_no_file ? Status::INVALID_ARGUMENT
                             : Status::IO,
                concat("cannot open ", quoted(path, 400), ": ",
                       is_no_file ? "it is not a regular file" : errno_text(opened.error)));
  }
  return [files, file = std::shared_ptr<OpenFile>(std::move(opened.value)), path,
          offset = uint64_t{0}](std::span<std::byte> bytes) mutable -> size_t {
    const IoResult<size_t> got = file->read(offset, bytes);
    if (!got.ok()) {
      throw Error(Status::IO, concat("cannot read ", bytes.size(), " bytes of ", quoted(path, 400),
                                     " at byte ", offset, ": ", errno_text(got.error)));
    }
    offset += got.value;
    return got.value;
  };
}

SnapshotSink snapshot_sink(ReplacementFile& file) {
  return [&file](std::span<const std::byte> bytes) { file.write(bytes); };
}

void throw_unusable_snapshot(const SnapshotReason& reason) {
  const bool is_intact = reason.stop == SnapshotStop::newer_version ||
                         reason.stop == SnapshotStop::other_model ||
                         reason.stop == SnapshotStop::other_layout;
  throw Error(is_intact ? Status::UNSUPPORTED : Status::CORRUPT,
              concat("the snapshot cannot be used: ", reason.text));
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
