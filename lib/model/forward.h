// The one layer loop: a ragged batch of rows through every layer of a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/weights.h"

namespace kvi {

// The rows of one step: a prefill chunk contributes many, a decoding sequence one.
struct ForwardBatch {
  std::vector<int32_t> token_ids;       // [num_rows]
  std::vector<int32_t> positions;       // [num_rows], absolute
  std::vector<SequenceRows> sequences;  // of consecutive rows
  // Page tables, [group][sequence][page]; the pages of every position up to the last row are there.
  std::vector<std::vector<std::span<const PageId>>> tables;

  int num_rows() const { return static_cast<int>(token_ids.size()); }
  void clear() {  // keeps the memory for the next step
    token_ids.clear();
    positions.clear();
    sequences.clear();
    for (auto& group : tables) group.clear();
  }
};

// The pages of one layer group, and which layers live in them.
struct KvGroupPages {
  const PageLayout* layout = nullptr;
  std::byte* pages = nullptr;
  int window = 0;
};
struct KvPlacement {
  std::vector<KvGroupPages> groups;
  std::vector<int> group_of_layer;  // [num_layers]
};

// Computes the hidden state of every row, left in the executor for Executor::head, and writes the
// rows' K and V into their pages.
void forward(const ModelWeights& weights, const KvPlacement& kv, const ForwardBatch& batch,
             Executor& executor);

}  // namespace kvi
