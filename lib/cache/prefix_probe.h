// What of a prompt is cached, where, and why the rest is not. Changes nothing.
//
// Knows the index alone: whether another model left the rest on the disk is asked of ForeignPages.
#pragma once

#include <array>
#include <span>

#include "cache/miss_reason.h"
#include "cache/prefix_cache.h"

namespace kvi {

struct PrefixProbe {
  std::array<int, kNumTiers> tokens =
      {};              // reusable, by the fastest tier that has all that is needed
  int first_miss = 0;  // position of the first token that is not reusable
  MissReason reason = MissReason::none;
};

// Not thread-safe, as the cache is.
PrefixProbe probe_prefix(const PrefixCache& cache, const SequencePages& sequence,
                         std::span<const TokenId> tokens);

}  // namespace kvi
