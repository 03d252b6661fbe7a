#include "memory_scenario.h"

#include <deque>

#include "base/error.h"
#include "base/memory_range.h"
#include "base/random.h"
#include "prefill.h"

namespace kvi {
namespace {

constexpr int kMaxModelLen = 8192;
constexpr int kNumReserved = 64;  // contiguous sequences that the budget is made for
constexpr int kNumReplaced = 20'000;
constexpr uint64_t kTestedPageBytes[] = {360 << 10, 1040 << 10, 2304 << 10, 5120 << 10};
constexpr int kSharedTokens = 2000;

uint64_t reserved_bytes(uint64_t token_bytes) { return kMaxModelLen * token_bytes; }

CacheManager make_cache(const std::vector<LayerGroup>& groups, uint64_t budget_bytes,
                        bool prefix_caching) {
  return CacheManager(
      groups,
      {.budget_bytes = budget_bytes, .prefix_caching = prefix_caching, .eviction_policy = "lru"},
      reserve_host_memory);
}

// 30 % short, 70 % long, each uniform.
class MixedLengths {
 public:
  explicit MixedLengths(uint64_t seed) : seed_(seed) {}
  int next() {
    const bool is_short = random_unit(seed_, counter_++) < 0.3;
    return is_short ? random_between(seed_, counter_++, 16, 255)
                    : random_between(seed_, counter_++, 1025, 4096);
  }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

// As many sequences as fit, each with all of max_model_len reserved from its start to its end.
int count_contiguous(uint64_t token_bytes, uint64_t budget_bytes) {
  std::vector<std::unique_ptr<MemoryRange>> sequences;
  for (uint64_t used = 0; used + reserved_bytes(token_bytes) <= budget_bytes;) {
    sequences.push_back(reserve_host_memory(reserved_bytes(token_bytes)));
    if (!sequences.back()->commit(0, reserved_bytes(token_bytes))) {
      throw Error(Status::OUT_OF_MEMORY, "the system refuses memory for contiguous sequences");
    }
    used += reserved_bytes(token_bytes);
  }
  return static_cast<int>(sequences.size());
}

struct Occupancy {
  double mean_sequences = 0;
  double waste_percent =
      0;  // of mapped bytes, what holds no token: page ends, free pages, granules
};

// Fills the budget in order of arrival, then replaces a random sequence by those next in line, again and again.
Occupancy fill_and_replace(const std::vector<LayerGroup>& groups, uint64_t budget_bytes,
                           uint64_t seed) {
  struct Held {
    SequencePages pages;
    uint64_t bytes;  // of its tokens
  };
  CacheManager cache = make_cache(groups, budget_bytes, false);
  MixedLengths lengths(seed);
  std::vector<Held> held;
  uint64_t held_bytes = 0;
  int next_len = lengths.next();
  const auto admit = [&] {
    for (;;) {
      SequencePages pages = cache.make_sequence();
      if (!prefill(cache, pages, next_len)) return;
      const uint64_t bytes = bytes_of_tokens(groups, pages);
      held_bytes += bytes;
      held.push_back({std::move(pages), bytes});
      next_len = lengths.next();
    }
  };
  double sum_sequences = 0, sum_waste = 0;
  admit();
  for (uint64_t i = 0; i < kNumReplaced; ++i) {
    std::swap(held[random_bits(~seed, i) % held.size()], held.back());
    cache.release(held.back().pages);
    held_bytes -= held.back().bytes;
    held.pop_back();
    admit();
    sum_sequences += static_cast<double>(held.size());
    cache.prefixes().pages().give_back_idle(UINT64_MAX);
    sum_waste += 1 - static_cast<double>(held_bytes) / static_cast<double>(cache.mapped_bytes());
  }
  for (Held& sequence : held) cache.release(sequence.pages);
  cache.check_invariants();
  return {sum_sequences / kNumReplaced, 100 * sum_waste / kNumReplaced};
}

int count_with_shared_prefix(const std::vector<LayerGroup>& groups, uint64_t budget_bytes,
                             uint64_t seed) {
  CacheManager cache = make_cache(groups, budget_bytes, true);
  const std::vector<TokenId> prefix = random_tokens(seed, 0, kSharedTokens);
  SequencePages first = cache.make_sequence();
  KVI_CHECK(prefill(cache, first, kSharedTokens, prefix));
  std::vector<SequencePages> held;
  for (uint64_t stream = 1;; ++stream) {
    std::vector<TokenId> tokens = prefix;
    const std::vector<TokenId> own = random_tokens(seed, stream,
                                                   random_between(seed, stream, 16, 1024));
    tokens.insert(tokens.end(), own.begin(), own.end());
    SequencePages pages = cache.make_sequence();
    if (!attach_and_prefill(cache, pages, tokens)) break;
    held.push_back(std::move(pages));
  }
  for (SequencePages& pages : held) cache.release(pages);
  cache.release(first);
  cache.check_invariants();
  return static_cast<int>(held.size());
}

// What one sequence holds once its prompt is computed.
uint64_t bytes_after_prefill(const KvShape& shape, int num_tokens) {
  const auto room = static_cast<uint64_t>(num_tokens + kPrefillChunk + 2 * shape.page_len);
  CacheManager cache = make_cache(shape.groups(), 2 * room * shape.token_bytes() + (8 << 20),
                                  false);
  SequencePages pages = cache.make_sequence();
  if (!prefill(cache, pages, num_tokens)) {
    throw Error(Status::OUT_OF_MEMORY, "the system refuses memory for one sequence");
  }
  const uint64_t bytes = cache.used_bytes();
  cache.release(pages);
  return bytes;
}

uint64_t page_bytes_of(const std::vector<LayerGroup>& groups) {
  uint64_t bytes = 0;
  for (const LayerGroup& group : groups) bytes += group.layout.page_bytes;
  return bytes;
}

}  // namespace

std::vector<MemoryResult> measure_memory(const KvShape& model, uint64_t seed) {
  std::vector<MemoryResult> results;
  const std::vector<LayerGroup> groups = model.groups();
  const uint64_t page_bytes = page_bytes_of(groups);
  const uint64_t budget_bytes = kNumReserved * reserved_bytes(model.token_bytes());
  const double contiguous = count_contiguous(model.token_bytes(), budget_bytes);
  const Occupancy paged = fill_and_replace(groups, budget_bytes, seed);
  const auto add = [&](const char* name, int context, uint64_t bytes, double value,
                       const char* shape) {
    results.push_back({name, context, bytes, value, shape});
  };
  add("waste_percent", kMaxModelLen, page_bytes, paged.waste_percent, "model");
  for (uint64_t tested : kTestedPageBytes) {
    LayerGroup group;
    group.layout.page_len = model.page_len;
    group.layout.page_bytes = tested;
    const uint64_t token_bytes = tested / static_cast<uint64_t>(model.page_len);
    const Occupancy occupancy = fill_and_replace({group},
                                                 kNumReserved * reserved_bytes(token_bytes), seed);
    add("waste_percent", kMaxModelLen, tested, occupancy.waste_percent, "one plane");
  }
  add("sequences_vs_contiguous", kMaxModelLen, page_bytes, paged.mean_sequences / contiguous,
      "model");
  add("sequences_vs_contiguous_shared_prefix", kMaxModelLen, page_bytes,
      count_with_shared_prefix(groups, budget_bytes, seed) / contiguous, "model");

  const bool is_hybrid = model.num_window_layers > 0 && model.num_window_layers < model.num_layers;
  KvShape hybrid = is_hybrid ? model : KvShape();
  hybrid.page_len = model.page_len;
  for (int context : {4096, 16384, 65536}) {
    const auto own = static_cast<double>(bytes_after_prefill(hybrid, context));
    const auto global = static_cast<double>(bytes_after_prefill(hybrid.all_global(), context));
    add("hybrid_saved_percent", context, page_bytes_of(hybrid.groups()), 100 * (1 - own / global),
        is_hybrid ? "model" : "gemma-3-270m");
  }
  return results;
}

}  // namespace kvi
