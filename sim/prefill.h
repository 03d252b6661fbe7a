// Computes prompts over the cache's core as an engine's steps do, without a model.
//
// Not thread-safe.
#pragma once

#include <span>
#include <vector>

#include "cache/cache_manager.h"

namespace kvi {

constexpr int kPrefillChunk = 512;  // tokens: an engine's max_batch_tokens

// From what the sequence has up to num_tokens. False: memory gave out, and the sequence is released. tokens: its
// own, so that they can be found again; empty: they cannot.
bool prefill(CacheManager& cache, SequencePages& sequence, int num_tokens,
             std::span<const TokenId> tokens = {});

// Takes what is cached of the tokens, all but the last, and computes the rest. False: as above.
bool attach_and_prefill(CacheManager& cache, SequencePages& sequence,
                        std::span<const TokenId> tokens);

// Random tokens: the same for the same seed and stream.
std::vector<TokenId> random_tokens(uint64_t seed, uint64_t stream, int count);
// In [low, high].
int random_between(uint64_t seed, uint64_t counter, int low, int high);

}  // namespace kvi
