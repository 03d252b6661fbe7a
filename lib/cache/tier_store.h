// A tier below the device: whole KV pages of every layer group, in numbered slots.
//
// A store only keeps bytes. The cache decides which page lies in which slot, and what is evicted. Whatever
// goes wrong inside a store is a miss for the cache: a page comes back as it was written, or not at all.
//
// write, read and discard: one thread at a time (the transfer worker). stats: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/sha256.h"

namespace kvi {

using SlotId = int32_t;

// The pages of one layer group, as a tier sees them.
struct TierGroup {
  uint64_t page_bytes = 0;
  int page_len = 16;  // tokens
};

// What a page in a lower tier is: enough to find it after a restart, and to prove that it is the right one.
struct PageRecord {
  Digest key = {};     // of the prefix that ends with this page
  Digest parent = {};  // of the prefix before it
  Digest scope = {};   // tenant or shared scope, model, layout: who may read it
  int group = 0;
  int first_token = 0;              // the position of tokens[0]
  std::span<const int32_t> tokens;  // of this page alone; fewer than page_len: a partial last page
};

struct TierStats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;                      // at most these
  uint64_t num_read = 0, bytes_read = 0;        // pages that were right
  uint64_t num_written = 0, bytes_written = 0;  // pages that were kept
  uint64_t num_mismatches = 0;  // reads of a slot that holds something else, or damage
  uint64_t num_refused = 0;     // writes without a try: no room, or the tier is resting
  uint64_t num_failures = 0;    // calls of the system that failed
  bool resting = false;         // after a failure, nothing is written for a while
  std::string last_failure;     // path, call and reason; empty: none yet
};

class TierStore {
 public:
  virtual ~TierStore() = default;

  // Slots of a group are 0 .. num_slots - 1, were the whole capacity its own: groups share it.
  virtual int num_slots(int group) const = 0;

  // Keeps the page, in place of what the slot held. False: it was not kept, and what the slot held may be
  // gone.
  virtual bool write(SlotId slot, const PageRecord& record,
                     std::span<const std::byte> page) noexcept = 0;
  // True: `page` is just what was written with a record that equals `expected`. False: a miss, and `page`
  // holds anything.
  virtual bool read(SlotId slot, const PageRecord& expected,
                    std::span<std::byte> page) noexcept = 0;
  // A tier in memory lets a device copy by itself. Where the page goes, as for write, until end_write; nullptr: use
  // write. What the slot held is gone.
  virtual std::byte* begin_write(SlotId, const PageRecord&, uint64_t /*num_bytes*/) noexcept {
    return nullptr;
  }
  virtual void end_write(SlotId, const PageRecord&, bool /*is_whole*/) noexcept {}
  // Where the page lies, as read would give it, until the next call; nullptr: use read.
  virtual std::byte* locate(SlotId, const PageRecord& /*expected*/,
                            uint64_t /*num_bytes*/) noexcept {
    return nullptr;
  }
  // The slot's page is not wanted any more; its bytes are free for any group.
  virtual void discard(int group, SlotId slot) noexcept = 0;

  // Lets go of what others may wait for, such as a lock: from here on it keeps and finds nothing.
  virtual void end() noexcept {}

  virtual TierStats stats() const = 0;

  // What it holds from before, at the start and once; the record's tokens live as long as the call. Nothing, for a
  // tier that forgets.
  using Visitor = std::function<void(SlotId, const PageRecord&)>;
  virtual void scan(const Visitor& visitor) { (void)visitor; }
};

}  // namespace kvi
