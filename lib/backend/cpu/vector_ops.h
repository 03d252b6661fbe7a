// The vector kernels of each instruction set, as a table of functions.
//
// Every table gives the same bits. The kernels are templates (norm.h, rope.h, activation.h,
// attention_kernel.h) that vector_ops_<isa>.cc instantiates under that instruction set's flags.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/isa.h"
#include "backend/layer.h"
#include "tensor/layout.h"

namespace kvi::cpu {

// Cosines and sines of one position, arranged as rotate() reads them: [rotary_dim] each.
//   half_split:  cosines (c0 .. c(n-1)), sines (s0 .. s(n-1)); the second halves are unused.
//   interleaved: cosines (c0, c0, c1, c1, ...), sines (-s0, s0, -s1, s1, ...).
struct RotaryAngles {
  const float* cosines;
  const float* sines;
};

inline constexpr int kSplitKeys = 256;
inline constexpr int kKeyTile = 16;  // keys scored by one vector; divides every page_len
inline constexpr int kSplitTiles = kSplitKeys / kKeyTile;

// One query's softmax over some keys: [0] the largest score, [1] the sum of e^(score - largest), and
// from [kStateHeader] on the sum of e^(score - largest) * V, padded to whole vectors.
inline constexpr int kStateHeader = 16;
static constexpr int64_t state_len(int head_dim) {
  return kStateHeader + (head_dim + 15) / 16 * 16;
}

struct AttentionCall {
  // Queries of consecutive positions, each with the heads that share the KV head.
  const float* queries;  // [num_positions, group, head_dim], scaled
  int num_positions;
  int group;
  int head_dim;
  int first_position;

  DType dtype;             // of keys and values
  const std::byte* pages;  // page p begins at p * page_bytes
  uint64_t page_bytes;
  uint64_t key_offset;      // of this KV head in a page; as value_offset
  uint64_t key_dim_stride;  // bytes; neighbouring slots are neighbours in memory
  uint64_t value_offset;
  uint64_t value_slot_stride;  // bytes; neighbouring dimensions are neighbours
  const PageId* table;
  int page_shift;  // page_len = 1 << page_shift
  int window;      // 0: none
  float softcap;   // 0: none
  int first_key, end_key;

  float* scores;  // scratch, [num_positions * group, kSplitKeys]
  float* states;  // out, [num_positions * group, state_len(head_dim)]
};

struct VectorOps {
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t len, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t len,
                     float* out);
  void (*rotate)(RopePairs pairs, RotaryAngles angles, int rotary_dim, float* head);
  void (*activate)(Activation activation, const float* gate, const float* up, int64_t len,
                   float* out);
  void (*add)(const float* x, int64_t len, float* to);
  void (*scale)(float factor, int64_t len, float* x);
  void (*softcap)(float cap, int64_t len, float* x);
  void (*attend)(const AttentionCall& call);
  void (*merge_states)(const float* later, int head_dim, float* into);
  void (*finish_state)(const float* state, int head_dim, float* out);
  void (*store_head)(const float* head, int head_dim, DType dtype, std::byte* first,
                     uint64_t dim_stride);
};

extern const VectorOps kScalarVectorOps;
#if defined(__x86_64__)
extern const VectorOps kAvx2VectorOps;
extern const VectorOps kAvx512VectorOps;
#endif

const VectorOps& vector_ops(Isa isa);

}  // namespace kvi::cpu
