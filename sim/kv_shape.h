// The KV cache of a model as numbers: how many layers keep all tokens, and how many a window.
//
// Thread-safe: functions of values.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/layer_group.h"

namespace kvi {

struct KvShape {
  int num_layers = 18, num_window_layers = 15, window = 512;  // Gemma 3 270M
  int num_kv_heads = 1, head_dim = 256;
  int page_len = 16;  // tokens

  // As an engine groups them, K and V in f16.
  std::vector<LayerGroup> groups() const;
  KvShape all_global() const;
  uint64_t layer_token_bytes() const;  // of one layer
  uint64_t token_bytes() const;        // of all layers
};

// What the sequence's pages hold of tokens. groups: the cache's.
struct SequencePages;
uint64_t bytes_of_tokens(const std::vector<LayerGroup>& groups, const SequencePages& sequence);

}  // namespace kvi
