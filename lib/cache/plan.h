// How many sequences fit how much KV memory: arithmetic over layer groups, pages and granules.
//
// It counts what CacheManager takes for what Scheduler admits, and owns nothing; it knows no model
// and no device. Sums saturate at UINT64_MAX, so that no hostile number wraps.
//
// Thread-safe: pure functions of values.
#pragma once

#include <cstdint>
#include <vector>

namespace kvi {

// The longest sequence that plans speak of, in tokens.
inline constexpr uint64_t kMaxPlannedLen = uint64_t{1} << 24;

struct PlannedGroup {
  uint64_t page_bytes = 0;   // page_len tokens of all its layers, alignment included
  uint64_t token_bytes = 0;  // one token of all its layers, alone
  uint64_t window = 0;       // tokens; 0: all
};

// What sequences ask of KV memory.
struct KvDemand {
  std::vector<PlannedGroup> groups;
  uint64_t page_len = 16;      // tokens
  uint64_t chunk = 512;        // the most tokens of one step
  uint64_t granule_bytes = 1;  // a group's memory comes in pieces of this
  uint64_t state_bytes = 0;    // of a sequence, in layers that keep a state instead of K and V

  uint64_t bytes_per_token() const;  // of all groups, while none has reached its window
  uint64_t bytes_per_page() const;   // of all groups

  // What each further sequence takes that has len tokens and decodes or waits, in whole pages: a
  // window group holds the pages that the window's tokens lie in, one more where it begins inside one.
  uint64_t bytes_per_sequence(uint64_t len) const;
  // The most that window groups hold besides while a prompt is prefilled, wherever its chunks are cut.
  // Once, not for each sequence, since all that prefill in one step share its tokens.
  uint64_t prefill_bytes(uint64_t len) const;
  // num_sequences of len tokens at once, in whole granules. One that is alone is taken to be a prompt
  // computed from its start: what CacheManager::peak_bytes_alone says, by which an engine refuses.
  uint64_t bytes_for(uint64_t num_sequences, uint64_t len) const;

  // The most for which bytes_for stays within budget_bytes. Require: a sequence takes some bytes.
  uint64_t max_sequences(uint64_t budget_bytes, uint64_t len) const;
  uint64_t max_len(uint64_t budget_bytes, uint64_t num_sequences) const;  // <= kMaxPlannedLen

  // What num_users sequences save that begin with the same prefix_len tokens, by the token. Only
  // whole pages are shared, so each user may save up to page_len - 1 tokens less.
  uint64_t shared_prefix_bytes(uint64_t prefix_len, uint64_t num_users) const;
  // The least length at which one sequence's K and V, by the token, take more than bytes; 0: none.
  uint64_t len_exceeding(uint64_t bytes) const;

 private:
  uint64_t pages_for(uint64_t num_tokens) const { return (num_tokens + page_len - 1) / page_len; }
  uint64_t resting_pages(const PlannedGroup& group, uint64_t len) const;
  uint64_t prefill_pages(const PlannedGroup& group, uint64_t len) const;
  uint64_t alone_bytes(uint64_t len) const;
  uint64_t token_bytes(uint64_t len) const;  // of one sequence, windows counted
};

uint64_t saturating_add(uint64_t a, uint64_t b);
uint64_t saturating_multiply(uint64_t a, uint64_t b);

}  // namespace kvi
