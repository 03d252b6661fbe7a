#include "grid_scenario.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/error.h"
#include "base/memory_range.h"
#include "base/text.h"
#include "prefill.h"

namespace kvi {
namespace {

constexpr int kWindow = 512;  // of arrangements that the model does not have
constexpr int kHybridPeriod = 6;

struct Arrangement {
  const char* name;
  KvShape shape;
};

std::vector<Arrangement> paged_arrangements(const KvShape& model) {
  KvShape window = model, hybrid = model;
  if (model.num_window_layers == 0) window.window = hybrid.window = kWindow;
  window.num_window_layers = model.num_layers;
  const bool is_hybrid = model.num_window_layers > 0 && model.num_window_layers < model.num_layers;
  if (!is_hybrid) hybrid.num_window_layers = model.num_layers - model.num_layers / kHybridPeriod;
  return {{"paged", model.all_global()}, {"window", window}, {"hybrid", hybrid}};
}

// Sequences that are computed one after the other and stay, at most so many: how many fit, and what they take.
struct Filled {
  int num_sequences = 0;
  uint64_t bytes = 0;
};
Filled fill(const KvShape& shape, uint64_t budget_bytes, int len, int most_sequences) {
  CacheManager cache(
      shape.groups(),
      {.budget_bytes = budget_bytes, .prefix_caching = false, .eviction_policy = "lru"},
      reserve_host_memory);
  std::vector<SequencePages> held;
  while (static_cast<int>(held.size()) < most_sequences) {
    SequencePages pages = cache.make_sequence();
    if (!prefill(cache, pages, len)) break;
    held.push_back(std::move(pages));
  }
  const Filled filled = {static_cast<int>(held.size()), cache.used_bytes()};
  for (SequencePages& pages : held) cache.release(pages);
  cache.check_invariants();
  return filled;
}

int count_in_budget(const KvShape& shape, uint64_t budget_bytes, int len) {
  try {
    return fill(shape, budget_bytes, len, std::numeric_limits<int>::max()).num_sequences;
  } catch (const Error& error) {
    if (error.status() != Status::EXHAUSTED) throw;
    return 0;  // not even one page of each layer group
  }
}

uint64_t allocate(const KvShape& shape, int len, int num_sequences) {
  const uint64_t room = uint64_t{kPrefillChunk} + static_cast<uint64_t>(len) +
                        2 * static_cast<uint64_t>(shape.page_len);
  const uint64_t budget = static_cast<uint64_t>(num_sequences) * room * shape.token_bytes() +
                          (64 << 20);
  const Filled filled = fill(shape, budget, len, num_sequences);
  if (filled.num_sequences < num_sequences) {
    throw Error(Status::OUT_OF_MEMORY, concat("the system refuses memory for ", num_sequences,
                                              " sequences of ", len, " tokens"));
  }
  return filled.bytes;
}

// Whether the system gives so many reservations at once.
bool can_reserve(uint64_t bytes_each, uint64_t num_sequences) {
  std::vector<std::unique_ptr<MemoryRange>> held;
  try {
    while (held.size() < num_sequences) {
      held.push_back(reserve_host_memory(bytes_each));
      if (!held.back()->commit(0, bytes_each)) return false;
    }
  } catch (const Error&) {  // not even the addresses
    return false;
  }
  return true;
}

}  // namespace

std::vector<GridResult> measure_grid(const KvShape& model, const GridOptions& options) {
  const std::vector<Arrangement> arrangements = paged_arrangements(model);
  std::vector<GridResult> results;
  for (int prompt_len : options.prompt_lens) {
    const int len = prompt_len + options.gen_len;
    const int reserved_len = std::max(len, options.reserved_len);
    const uint64_t reserved_bytes = static_cast<uint64_t>(reserved_len) * model.token_bytes();
    const uint64_t num_reserved = options.budget_bytes / reserved_bytes;
    const bool fits = can_reserve(reserved_bytes, num_reserved);
    std::vector<int> in_budget;
    for (const Arrangement& paged : arrangements) {
      in_budget.push_back(count_in_budget(paged.shape, options.budget_bytes, len));
    }
    for (int num_sequences : options.sequences) {
      const auto count = static_cast<uint64_t>(num_sequences);
      const auto add = [&](const char* name, uint64_t bytes, bool is_allocated, int most) {
        const double num_tokens = static_cast<double>(count) * len;
        results.push_back({name, prompt_len, num_sequences, bytes, is_allocated,
                           static_cast<double>(bytes) / num_tokens, most});
      };
      add("contiguous", count * reserved_bytes, fits && can_reserve(reserved_bytes, count),
          static_cast<int>(num_reserved));
      for (size_t i = 0; i < arrangements.size(); ++i) {
        add(arrangements[i].name, allocate(arrangements[i].shape, len, num_sequences), true,
            in_budget[i]);
      }
    }
  }
  return results;
}

}  // namespace kvi
