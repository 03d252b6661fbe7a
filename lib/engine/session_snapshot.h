// A session's tokens, K and V as a snapshot, and a session that goes on from one.
//
// Saving pins the pages and leaves the session as it is: usable at once, and if it was suspended or had given its
// pages up, it still is; then K and V are saved as far as the cache has them. K and V that are not there are left out:
// a reader computes them again.
//
// Loading believes checksums, which find damage and no forgery. So a session with K and V from a snapshot, and its
// forks, are never indexed: what they compute later is nobody else's prefix either.
//
// Sinks and sources are called on the caller's thread with no lock held; what they throw passes through.
#pragma once

#include <memory>

#include "engine/options.h"
#include "engine/sequence_state.h"
#include "engine/snapshot_reader.h"
#include "engine/snapshot_writer.h"

namespace kvi {

class EngineCore;

struct SessionLoadOptions {
  SessionOptions session;
  ForeignNumerics foreign_numerics = ForeignNumerics::refuse;
};

// What was taken of a snapshot.
struct SessionLoad {
  int64_t num_tokens = 0;
  int64_t kv_len = 0;     // of these, with K and V
  int64_t num_pages = 0;  // read for them, in all layer groups
  SnapshotReason reason;  // why it was not more
};

// Requires: the caller owns the sequence. Throws UNSUPPORTED where the format has no place for it.
void save_sequence(EngineCore& core, const SequenceState& sequence, SnapshotSink sink);

// Throws CORRUPT (no snapshot, or its header is damaged), UNSUPPORTED (of another model, or newer), EXHAUSTED (the KV
// budget has no room), CLOSED.
std::shared_ptr<SequenceState> load_sequence(EngineCore& core, SnapshotSource source,
                                             const SessionLoadOptions& options,
                                             SessionLoad& result);

}  // namespace kvi
