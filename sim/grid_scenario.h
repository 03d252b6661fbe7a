// What sequences take of KV memory in four arrangements of a model's layers, and how many fit a budget.
//
//   contiguous  reserved_len tokens of every layer reserved for each sequence
//   paged       pages, every layer keeps all tokens
//   window      pages, every layer keeps a window
//   hybrid      pages, some layers keep a window: as the model, or 5 of 6 layers
// All numbers come from allocating, as those of memory_scenario.h do.
//
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kv_shape.h"

namespace kvi {

struct GridOptions {
  std::vector<int> prompt_lens, sequences;  // each with each
  int gen_len = 32;                         // tokens that follow the prompt
  int reserved_len = 0;                     // of contiguous; at least as long as a sequence becomes
  uint64_t budget_bytes = uint64_t{4} << 30;
};

struct GridResult {
  std::string name;
  int prompt_len = 0, sequences = 0;
  uint64_t kv_bytes = 0;        // of all sequences, once their last token is computed
  bool is_allocated = true;     // false: the system refuses so much, and this is the product
  double bytes_per_token = 0;   // of those that are known
  int sequences_in_budget = 0;  // of budget_bytes, that come one after the other and stay
};

// Throws OUT_OF_MEMORY where the system refuses pages.
std::vector<GridResult> measure_grid(const KvShape& model, const GridOptions& options);

}  // namespace kvi
