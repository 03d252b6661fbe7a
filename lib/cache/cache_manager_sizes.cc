// Of CacheManager: what sequences hold, and will.
#include <algorithm>

#include "cache/cache_manager.h"

namespace kvi {

uint64_t CacheManager::bytes_to_reach(const SequencePages& sequence, int num_tokens,
                                      int chunk) const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) {
    const int held = static_cast<int>(sequence.tables[g].size()) - sequence.first_held[g];
    int most = pages_for(num_tokens) - sequence.first_held[g];
    if (groups()[g].window > 0) most = std::min(most, pages_for(groups()[g].window + chunk) + 1);
    bytes += static_cast<uint64_t>(std::max(0, most - held) + tail_is_immutable(sequence, g)) *
             page_bytes(g);
  }
  return bytes;
}

uint64_t CacheManager::bytes_to_reach_alone(const SequencePages& sequence, int num_tokens,
                                            int chunk) const {
  uint64_t bytes = peak_bytes_alone(sequence, num_tokens, chunk) - held_bytes(sequence);
  for (int g = 0; g < num_groups(); ++g) {
    bytes += tail_is_immutable(sequence, g) * page_bytes(g);
  }
  return bytes;
}

uint64_t CacheManager::peak_bytes_alone(const SequencePages& sequence, int num_tokens,
                                        int chunk) const {
  return peak_bytes(sequence, num_tokens, chunk, 1);
}

uint64_t CacheManager::least_budget_for(const SequencePages& sequence, int num_tokens,
                                        int chunk) const {
  return peak_bytes(sequence, num_tokens, chunk, prefixes_.pages().granule_bytes());
}

uint64_t CacheManager::peak_bytes(const SequencePages& sequence, int num_tokens, int chunk,
                                  uint64_t granule) const {
  uint64_t peak = 0;
  int first = sequence.num_tokens;
  do {
    const int end_page = pages_for(std::min(num_tokens, first + chunk));
    uint64_t bytes = 0;
    for (int g = 0; g < num_groups(); ++g) {
      const int end = std::max(end_page, static_cast<int>(sequence.tables[g].size()));
      const int begin = std::max(sequence.first_held[g], prefixes_.first_needed_page(g, first));
      const uint64_t group_bytes = static_cast<uint64_t>(end - begin) * page_bytes(g);
      bytes += (group_bytes + granule - 1) / granule * granule;
    }
    peak = std::max(peak, bytes);
    first += chunk;
  } while (first < num_tokens);
  return peak;
}

uint64_t CacheManager::held_bytes(const SequencePages& sequence) const {
  uint64_t bytes = 0;
  for (int g = 0; g < num_groups(); ++g) {
    bytes += (sequence.tables[g].size() - sequence.first_held[g]) * page_bytes(g);
  }
  return bytes;
}

}  // namespace kvi
