#include "prefill.h"

#include <algorithm>

#include "base/random.h"

namespace kvi {

bool prefill(CacheManager& cache, SequencePages& sequence, int num_tokens,
             std::span<const TokenId> tokens) {
  std::vector<PageCopy> copies;
  while (sequence.num_tokens < num_tokens) {
    const int count = std::min(kPrefillChunk, num_tokens - sequence.num_tokens);
    copies.clear();
    if (!cache.reserve(sequence, count, copies)) {
      cache.release(sequence);
      return false;
    }
    cache.finish_copies(copies);
    const auto known = static_cast<size_t>(tokens.empty() ? 0 : sequence.num_tokens + count);
    cache.commit(sequence, count, tokens.first(known));
  }
  return true;
}

bool attach_and_prefill(CacheManager& cache, SequencePages& sequence,
                        std::span<const TokenId> tokens) {
  std::vector<PageCopy> copies;
  const int num_tokens = static_cast<int>(tokens.size());
  cache.attach(sequence, tokens, num_tokens - 1, copies);
  cache.finish_copies(copies);
  return prefill(cache, sequence, num_tokens, tokens);
}

std::vector<TokenId> random_tokens(uint64_t seed, uint64_t stream, int count) {
  constexpr uint64_t kVocabSize = 32000;
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  const uint64_t key = random_bits(seed, stream);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<TokenId>(random_bits(key, i) % kVocabSize);
  }
  return tokens;
}

int random_between(uint64_t seed, uint64_t counter, int low, int high) {
  const auto span = static_cast<uint64_t>(high - low + 1);
  return low + static_cast<int>(random_bits(seed, counter) % span);
}

}  // namespace kvi
