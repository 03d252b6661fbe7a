// What requests take that share a prefix, against the same requests without sharing: by allocation.
//
// Thread-safe: functions only.
#pragma once

#include <cstdint>

#include "kv_shape.h"

namespace kvi {

struct PrefixRequests {
  int num_requests = 0;
  int prefix_len = 0, suffix_len = 0;  // tokens
  // Turns of one conversation: request i has i suffixes after the prefix, besides its own.
  bool is_growing = false;
};

// The share in percent of allocated bytes (private and pinned), all prompts computed and held.
double prefix_saved_percent(const KvShape& shape, const PrefixRequests& requests, uint64_t seed);

}  // namespace kvi
