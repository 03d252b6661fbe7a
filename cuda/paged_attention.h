// Parameters of the fast paged attention (attention_decode.cu, attention_prefill.cu, attention_wgmma.cu).
// Plain C++: both sides include it.
//
// The queries of a sequence and a KV head are packed: query q is that of row q / group and of the group's head
// q % group, so that all heads that share keys share their loads. A piece of work is a tile of packed queries
// against a run of keys; thread blocks take them from a list in device memory (the host's AttentionPlan), one
// list for all KV heads. So a recorded launch serves any positions.
#pragma once

#include <cstdint>

#include "formats.h"
#include "rows.h"

namespace kvi::cuda {

struct AttentionWork {
  int32_t sequence;
  int32_t first_row;       // of the sequence, in the batch
  int32_t first_position;  // of that row
  int32_t first_query;     // packed
  int32_t num_queries;
  int32_t first_key;  // a multiple of 16
  int32_t num_keys;
  int32_t split, num_splits;  // of the tile's keys
  int32_t tile;               // counts tiles of several splits: their place in arrivals
  int32_t first_partial;      // of the tile: their places in partials
  int32_t unused;             // to 16 bytes
};

struct PagedAttentionParams {
  const void* queries;  // [num_rows, num_heads, head_dim], of the keys' type
  void* out;            // as queries, of out_format
  const uint8_t* pages;
  uint64_t page_bytes;
  PagePlane key, value;
  PageTables tables;
  const AttentionWork* work;
  const int32_t* num_work;
  float* partials;    // of splits: see partial_floats
  int32_t* arrivals;  // [tiles, num_kv_heads]: zero before and after
  int32_t num_heads, num_kv_heads;
  int32_t page_shift;  // page_len = 1 << page_shift, 16 or more
  int32_t window;      // 0: none
  float softmax_scale;
  float softcap;  // 0: none
  Format out_format;
};

constexpr int kKeysOfTile = 16;  // keys that one warp of the decode kernel takes at a time
constexpr int kDecodeQueries = 16;
constexpr int kDecodeWarps = 4;
constexpr int kDecodeThreads = kDecodeWarps * 32;
constexpr int kMostSplits = 256;

constexpr bool has_fast_attention(int head_dim) {
  return head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256;
}

// Rows of 16-bit values in shared memory lie an odd number of 16 bytes apart: no bank conflicts.
constexpr int shared_row_bytes(int head_dim) { return head_dim * 2 + 16; }

// Stages of a warp's pipeline: about 100 KiB of shared memory a thread block, so that two share an SM.
constexpr int decode_stages(int head_dim) {
  return head_dim <= 64 ? 5 : head_dim <= 96 ? 4 : head_dim <= 128 ? 3 : 2;
}
constexpr int decode_shared_bytes(int head_dim) {
  return kDecodeWarps * decode_stages(head_dim) * 2 * kKeysOfTile * shared_row_bytes(head_dim);
}
// A split's share for one KV head: sums of weighted values, then their largest score and sum of weights.
constexpr int partial_floats(int head_dim) { return kDecodeQueries * (head_dim + 2); }

constexpr int kPrefillThreads = 128;
constexpr int prefill_queries(int head_dim) { return head_dim <= 128 ? 128 : 64; }
constexpr int prefill_keys(int head_dim) { return head_dim <= 128 ? 64 : 32; }
constexpr int prefill_shared_bytes(int head_dim) {
  return (prefill_queries(head_dim) + 4 * prefill_keys(head_dim)) * shared_row_bytes(head_dim);
}

// Of attention_wgmma.cu (sm_90a): keys and values come by bulk tensor copies, whose maps the host makes
// (dimensions [page][head][slot][dim] from the inside: kDim, page_len, KV heads, pages; boxes of 64 values of
// 16 slots, 128-byte swizzle).
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};
struct PagedAttentionMaps {
  TensorMap key, value;
  PagedAttentionParams common;
};
constexpr int kGroupThreads = 3 * 128;  // a warpgroup that loads, two that compute
constexpr int kGroupQueries = 128;
constexpr int kGroupKeys = 128;
constexpr int kGroupStages = 3;
constexpr bool has_group_attention(int head_dim) { return head_dim == 64 || head_dim == 128; }
// And 1024 to align, and the barriers.
constexpr int group_shared_bytes(int head_dim) {
  return (kGroupQueries + 2 * kGroupStages * kGroupKeys) * head_dim * 2 + 1024 + 128;
}

}  // namespace kvi::cuda
