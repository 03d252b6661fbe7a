// What the scheduler knows of one request: its pages, its tokens, and how urgent it is.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/token_id.h"
#include "cache/sequence_pages.h"

namespace kvi {

struct SchedSequence {
  SequencePages* pages = nullptr;
  int num_known = 0;  // tokens; those from pages->num_tokens on are to be computed
  const std::vector<TokenId>* tokens =
      nullptr;  // the known ones; nullptr: nothing is looked up by them
  // Tokens before this position need not be computed if they are cached; from it on the logits are wanted.
  int first_wanted = 0;
  int max_len = 0;        // tokens that it may ever come to; what it generates is unknown before
  void* owner = nullptr;  // whatever the engine knows it by
  int priority = 0;       // higher goes first
  int64_t deadline_us = std::numeric_limits<int64_t>::max();  // on any one clock

  // The scheduler's own.
  int tenant = 0;      // for the fair share
  int prompt_len = 0;  // tokens when it was enqueued
  uint64_t arrival = 0;
  int num_preemptions = 0;
  int num_passed_over = 0;  // by others of its tenant with more of their prompt cached
  int cached_hint = 0;      // tokens, when it was enqueued
  bool attached = false;    // has looked for its prefix since it was last enqueued
  uint64_t blocked_used_bytes =
      std::numeric_limits<uint64_t>::max();  // in use when it found no room
  uint64_t step = 0;                         // the last one it was part of
  bool is_running = false;
  int started_anew_at = 0;  // tokens, when it last gave its pages up for better places

  int num_pending() const { return num_known - pages->num_tokens; }
};

}  // namespace kvi
