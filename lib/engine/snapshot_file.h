// Snapshots in files, and what can be said of one without a model: its facts, and whether it is whole.
//
// Thread-safe: functions without shared state.
#pragma once

#include <memory>
#include <string>

#include "base/replacement_file.h"
#include "engine/snapshot_reader.h"
#include "engine/snapshot_writer.h"

namespace kvi {

// Reads the file from its beginning. It, and the reads, throw NOT_FOUND, INVALID_ARGUMENT where path is something
// else than a file, IO.
SnapshotSource snapshot_source(const std::string& path,
                               const std::shared_ptr<FileSystem>& files = os_file_system());
// Writes to file, which the caller commits when the writer has finished and which lives as long.
SnapshotSink snapshot_sink(ReplacementFile& file);

struct SnapshotFacts {
  std::optional<SnapshotHeader> header;  // nullopt: reason says why
  int64_t num_pages = 0;                 // as the header says
  uint64_t num_bytes = 0;                // of the whole snapshot, as the header says
  SnapshotReason reason;
};

// Throws CORRUPT (no snapshot, or a damaged one) or UNSUPPORTED (of another model, or newer).
[[noreturn]] void throw_unusable_snapshot(const SnapshotReason& reason);

// Reads the header only.
SnapshotFacts inspect_snapshot(SnapshotSource source);

struct SnapshotCheck {
  SnapshotFacts facts;
  int64_t num_tokens = 0;  // valid, from the first on
  int64_t num_pages = 0;   // as num_tokens
  int64_t kv_len = 0;      // positions whose K and V these tokens and pages give
  SnapshotReason reason;   // complete: every checksum holds, and nothing follows the last page
};

// Reads all of it, a few kilobytes at a time.
SnapshotCheck verify_snapshot(SnapshotSource source);

}  // namespace kvi
