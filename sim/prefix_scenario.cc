#include "prefix_scenario.h"

#include "base/error.h"
#include "base/text.h"
#include "prefill.h"

namespace kvi {
namespace {

int prompt_len(const PrefixRequests& requests, int request) {
  const int num_suffixes = requests.is_growing ? request + 1 : 1;
  return requests.prefix_len + num_suffixes * requests.suffix_len;
}

std::vector<TokenId> prompt(const PrefixRequests& requests, int request, uint64_t seed) {
  if (requests.is_growing) return random_tokens(seed, 0, prompt_len(requests, request));
  std::vector<TokenId> tokens = random_tokens(seed, 0, requests.prefix_len);
  const std::vector<TokenId> own = random_tokens(seed, static_cast<uint64_t>(request) + 1,
                                                 requests.suffix_len);
  tokens.insert(tokens.end(), own.begin(), own.end());
  return tokens;
}

uint64_t allocated_bytes(const KvShape& shape, const PrefixRequests& requests, bool shared,
                         uint64_t seed) {
  uint64_t num_tokens = kPrefillChunk;
  for (int i = 0; i < requests.num_requests; ++i) {
    num_tokens += static_cast<uint64_t>(prompt_len(requests, i) + 2 * shape.page_len);
  }
  CacheManager cache(shape.groups(),
                     {.budget_bytes = num_tokens * shape.token_bytes() + (64 << 20),
                      .prefix_caching = shared,
                      .eviction_policy = "lru"},
                     reserve_host_memory);
  std::vector<SequencePages> held;
  for (int i = 0; i < requests.num_requests; ++i) {
    held.push_back(cache.make_sequence());
    const std::vector<TokenId> tokens = prompt(requests, i, seed);
    const bool fits = shared ? attach_and_prefill(cache, held.back(), tokens)
                             : prefill(cache, held.back(), static_cast<int>(tokens.size()));
    if (!fits) {
      throw Error(Status::OUT_OF_MEMORY, concat("the system refuses memory for request ", i, " of ",
                                                requests.num_requests, "; ask for fewer requests"));
    }
  }
  const uint64_t bytes = cache.used_bytes();
  for (SequencePages& pages : held) cache.release(pages);
  cache.check_invariants();
  return bytes;
}

}  // namespace

double prefix_saved_percent(const KvShape& shape, const PrefixRequests& requests, uint64_t seed) {
  const auto shared = static_cast<double>(allocated_bytes(shape, requests, true, seed));
  const auto unshared = static_cast<double>(allocated_bytes(shape, requests, false, seed));
  return 100 * (1 - shared / unshared);
}

}  // namespace kvi
