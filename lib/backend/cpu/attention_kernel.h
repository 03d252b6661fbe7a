// Attention of a few queries of one KV head over one run of keys in pages (templates over F32x16).
//
// A run is at most kSplitKeys keys and begins at a multiple of it, in absolute positions. Each score
// is one chain of fused multiply-adds over the dimensions, each output one chain over the keys that
// its query sees, in order; so a query's bits depend neither on the queries that share the call nor
// on how registers are blocked. Keys that a query does not see contribute nothing: not even 0 * V.
#pragma once

#include "backend/cpu/activation.h"
#include "backend/cpu/simd.h"
#include "backend/cpu/vector_ops.h"

namespace kvi::cpu {

namespace attention_kernel {

// The loops over registers must be unrolled for their arrays to be registers.
#define KVI_UNROLL _Pragma("GCC unroll 16")

template <class E>
struct Tiles {
  const E* keys[kSplitTiles];    // [head_dim][16], key_stride elements from dimension to dimension
  const E* values[kSplitTiles];  // [16][head_dim], value_stride elements from key to key
  int64_t key_stride, value_stride;
};

template <class F, DType dtype, int kRows, int kTiles>
inline void score_block(const float* queries, int head_dim, const Element<dtype>* const* keys,
                        int64_t key_stride, float* scores) {
  F sums[kRows][kTiles];
  KVI_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KVI_UNROLL
    for (int t = 0; t < kTiles; ++t) sums[r][t] = F::broadcast(0.0f);
  }
  for (int d = 0; d < head_dim; ++d) {
    F key[kTiles];
    KVI_UNROLL
    for (int t = 0; t < kTiles; ++t) key[t] = load_elements<F, dtype>(keys[t] + d * key_stride);
    KVI_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const F query = F::broadcast(queries[r * head_dim + d]);
      KVI_UNROLL
      for (int t = 0; t < kTiles; ++t) sums[r][t] = F::fma(query, key[t], sums[r][t]);
    }
  }
  KVI_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KVI_UNROLL
    for (int t = 0; t < kTiles; ++t) sums[r][t].store(scores + r * kSplitKeys + t * kKeyTile);
  }
}

template <class F, DType dtype, int kRows>
void score_rows(const float* queries, int head_dim, const Tiles<Element<dtype>>& tiles,
                int first_tile, int end_tile, float* scores) {
  constexpr int kTiles = F::score_tiles(kRows);
  int t = first_tile;
  for (; t + kTiles <= end_tile; t += kTiles) {
    score_block<F, dtype, kRows, kTiles>(queries, head_dim, tiles.keys + t, tiles.key_stride,
                                         scores + t * kKeyTile);
  }
  for (; t < end_tile; ++t) {
    score_block<F, dtype, kRows, 1>(queries, head_dim, tiles.keys + t, tiles.key_stride,
                                    scores + t * kKeyTile);
  }
}

// Calls body.template operator()<rows>(first) for blocks of rows: of kMax while there are so many, then
// of what is left.
template <int kMax, class Body>
void for_each_row_block(int row, int num_rows, const Body& body) {
  for (; row + kMax <= num_rows; row += kMax) body.template operator()<kMax>(row);
  if constexpr (kMax > 1) {
    if (row < num_rows) for_each_row_block<kMax - 1>(row, num_rows, body);
  }
}

// Turns scores[begin, end) into e^(score - largest), and writes the largest and the sum.
template <class F>
void softmax_row(float* scores, int begin, int end, float cap, float* state) {
  const F lowest = F::broadcast(-__builtin_inff()), zero = F::broadcast(0.0f);
  const int first = begin / kKeyTile * kKeyTile;
  auto visible = [&](int key) { return F::lanes(begin - key, end - key); };
  auto is_edge = [&](int key) { return key < begin || key + kKeyTile > end; };
  F largest = lowest;
  for (int key = first; key < end; key += kKeyTile) {
    F score = F::load(scores + key);
    if (cap > 0) {
      score = softcap(score, F::broadcast(cap));
      score.store(scores + key);
    }
    if (is_edge(key)) score = F::select(visible(key), score, lowest);
    largest = F::max(largest, score);
  }
  state[0] = F::largest(largest);
  largest = F::broadcast(state[0]);
  F sum = zero;
  for (int key = first; key < end; key += kKeyTile) {
    F weight = exp(F::load(scores + key) - largest);
    if (is_edge(key)) weight = F::select(visible(key), weight, zero);
    weight.store(scores + key);
    sum = sum + weight;
  }
  state[1] = F::sum(sum);
}

// sums[r] += weights[r][j] * V[j][columns] for the keys j in [begin, end). has_tail: the one vector of
// columns has tail values only.
template <class F, DType dtype, int kRows, int kColumns, bool has_tail>
inline void value_block(const float* weights, const Tiles<Element<dtype>>& tiles, int begin,
                        int end, int column, int tail, float* sums, int64_t sums_stride) {
  F sum[kRows][kColumns];
  KVI_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KVI_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[r][c] = F::load(sums + r * sums_stride + c * 16);
  }
  for (int key = begin; key < end;) {
    const int tile = key / kKeyTile;
    const int tile_end = (tile + 1) * kKeyTile < end ? (tile + 1) * kKeyTile : end;
    const Element<dtype>* row = tiles.values[tile] + (key % kKeyTile) * tiles.value_stride + column;
    for (; key < tile_end; ++key, row += tiles.value_stride) {
      F value[kColumns];
      KVI_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        value[c] = has_tail ? load_tail<F, dtype>(row, tail)
                            : load_elements<F, dtype>(row + c * 16);
      }
      KVI_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const F weight = F::broadcast(weights[r * kSplitKeys + key]);
        KVI_UNROLL
        for (int c = 0; c < kColumns; ++c) sum[r][c] = F::fma(weight, value[c], sum[r][c]);
      }
    }
  }
  KVI_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KVI_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[r][c].store(sums + r * sums_stride + c * 16);
  }
}

// The same over columns [column, head_dim), in blocks of kColumns vectors while they fill, then fewer.
template <class F, DType dtype, int kRows, int kColumns>
void value_columns(const float* weights, int head_dim, const Tiles<Element<dtype>>& tiles,
                   int begin, int end, int column, float* sums) {
  const int64_t stride = state_len(head_dim);
  for (; column + kColumns * 16 <= head_dim; column += kColumns * 16) {
    value_block<F, dtype, kRows, kColumns, false>(weights, tiles, begin, end, column, 0,
                                                  sums + column, stride);
  }
  if (column == head_dim) return;
  if constexpr (kColumns > 1) {
    value_columns<F, dtype, kRows, kColumns / 2>(weights, head_dim, tiles, begin, end, column,
                                                 sums);
  } else {
    value_block<F, dtype, kRows, 1, true>(weights, tiles, begin, end, column, head_dim - column,
                                          sums + column, stride);
  }
}

template <class F, DType dtype>
void add_values(const float* weights, int num_rows, int head_dim,
                const Tiles<Element<dtype>>& tiles, int begin, int end, float* states) {
  if (begin >= end) return;
  for_each_row_block<F::kValueRows>(0, num_rows, [&]<int kRows>(int row) {
    value_columns<F, dtype, kRows, F::value_columns(kRows)>(
        weights + static_cast<int64_t>(row) * kSplitKeys, head_dim, tiles, begin, end, 0,
        states + row * state_len(head_dim) + kStateHeader);
  });
}

template <class F, DType dtype>
void attend_split(const AttentionCall& call) {
  using E = Element<dtype>;
  // Keys are counted from first_key here. What a position sees is [begin_of(p), end_of(p)); both ends
  // only grow with the position.
  const int num_keys = call.end_key - call.first_key;
  auto clamp = [&](int key) { return key < 0 ? 0 : key > num_keys ? num_keys : key; };
  auto end_of = [&](int p) { return clamp(call.first_position + p + 1 - call.first_key); };
  auto begin_of = [&](int p) {
    return call.window == 0 ? 0 : clamp(call.first_position + p + 1 - call.window - call.first_key);
  };
  const int num_rows = call.num_positions * call.group;
  const int64_t stride = state_len(call.head_dim);
  for (int row = 0; row < num_rows; ++row) {
    float* state = call.states + row * stride;
    for (int64_t i = 0; i < stride; ++i) state[i] = 0;
    state[0] = -__builtin_inff();
  }
  const int begin = begin_of(0), end = end_of(call.num_positions - 1);
  if (begin >= end) return;

  Tiles<E> tiles;
  tiles.key_stride = static_cast<int64_t>(call.key_dim_stride / sizeof(E));
  tiles.value_stride = static_cast<int64_t>(call.value_slot_stride / sizeof(E));
  const int first_tile = begin / kKeyTile, end_tile = (end + kKeyTile - 1) / kKeyTile;
  for (int t = first_tile; t < end_tile; ++t) {
    const int key = call.first_key + t * kKeyTile;
    const uint64_t slot = static_cast<uint64_t>(key & ((1 << call.page_shift) - 1));
    const std::byte* page = call.pages + static_cast<uint64_t>(call.table[key >> call.page_shift]) *
                                             call.page_bytes;
    tiles.keys[t] = reinterpret_cast<const E*>(page + call.key_offset) + slot;
    tiles.values[t] = reinterpret_cast<const E*>(page + call.value_offset +
                                                 slot * call.value_slot_stride);
  }

  for_each_row_block<F::kScoreRows>(0, num_rows, [&]<int kRows>(int row) {
    score_rows<F, dtype, kRows>(call.queries + static_cast<int64_t>(row) * call.head_dim,
                                call.head_dim, tiles, first_tile, end_tile,
                                call.scores + static_cast<int64_t>(row) * kSplitKeys);
  });
  for (int p = 0; p < call.num_positions; ++p) {
    if (begin_of(p) >= end_of(p)) continue;
    for (int g = 0; g < call.group; ++g) {
      const int64_t row = static_cast<int64_t>(p) * call.group + g;
      softmax_row<F>(call.scores + row * kSplitKeys, begin_of(p), end_of(p), call.softcap,
                     call.states + row * stride);
    }
  }

  // Keys that all positions see are added for all at once; those at the edges for each position.
  const int common_begin = begin_of(call.num_positions - 1), common_end = end_of(0);
  const bool has_common = common_begin < common_end;
  auto add_for = [&](int p, int num_positions, int from, int to) {
    const int64_t row = static_cast<int64_t>(p) * call.group;
    add_values<F, dtype>(call.scores + row * kSplitKeys, num_positions * call.group, call.head_dim,
                         tiles, from, to, call.states + row * stride);
  };
  for (int p = 0; p < call.num_positions; ++p) {
    add_for(p, 1, begin_of(p), has_common ? common_begin : end_of(p));
  }
  if (!has_common) return;
  add_for(0, call.num_positions, common_begin, common_end);
  for (int p = 0; p < call.num_positions; ++p) add_for(p, 1, common_end, end_of(p));
}

#undef KVI_UNROLL
}  // namespace attention_kernel

template <class F>
void attend(const AttentionCall& call) {
  switch (call.dtype) {
    case DType::F32: return attention_kernel::attend_split<F, DType::F32>(call);
    case DType::BF16: return attention_kernel::attend_split<F, DType::BF16>(call);
    default: return attention_kernel::attend_split<F, DType::F16>(call);
  }
}

// Merges one query's state over later keys into its state over earlier ones.
template <class F>
void merge_states(const float* later, int head_dim, float* into) {
  if (later[1] == 0) return;  // it saw no key there
  const F most = F::max(F::broadcast(into[0]), F::broadcast(later[0]));
  const F ours = exp(F::broadcast(into[0]) - most);
  const F theirs = exp(F::broadcast(later[0]) - most);
  for (int64_t i = kStateHeader; i < state_len(head_dim); i += 16) {
    F::fma(F::load(later + i), theirs, F::load(into + i) * ours).store(into + i);
  }
  into[1] = F::largest(F::fma(F::broadcast(later[1]), theirs, F::broadcast(into[1]) * ours));
  into[0] = F::largest(most);
}

template <class F>
void finish_state(const float* state, int head_dim, float* out) {
  const F sum = F::broadcast(state[1]);
  const float* values = state + kStateHeader;
  for_each_vector<F>(
      head_dim, [&](int64_t i, auto, auto store) { store(F::load(values + i) / sum, out + i); });
}

// Rounds one head's key into a slot of [dim][slot] (dim_stride bytes apart), or its value into a row.
template <class F, DType dtype>
void store_strided(const float* head, int head_dim, std::byte* first, uint64_t dim_stride) {
  using E = Element<dtype>;
  for_each_vector<F>(head_dim, [&](int64_t i, auto load, auto) {
    E rounded[16];
    store_elements<F, dtype>(load(head + i), rounded);
    const int64_t count = head_dim - i < 16 ? head_dim - i : 16;
    std::byte* to = first + static_cast<uint64_t>(i) * dim_stride;
    for (int64_t k = 0; k < count; ++k, to += dim_stride) *reinterpret_cast<E*>(to) = rounded[k];
  });
}

template <class F>
void store_head(const float* head, int head_dim, DType dtype, std::byte* first,
                uint64_t dim_stride) {
  switch (dtype) {
    case DType::F32: return store_strided<F, DType::F32>(head, head_dim, first, dim_stride);
    case DType::BF16: return store_strided<F, DType::BF16>(head, head_dim, first, dim_stride);
    default: return store_strided<F, DType::F16>(head, head_dim, first, dim_stride);
  }
}

}  // namespace kvi::cpu
