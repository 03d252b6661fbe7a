// The keys that were evicted lately, so that a miss can say so: a ring of the last ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "base/short_memory.h"

namespace kvi {

class EvictedKeys {
 public:
  // Where memory is short the key is not remembered.
  void add(const Digest& key) {
    try_to([&] {
      if (ring_.size() < kMost) reserve_more(ring_, 1);
      ++counts_[word(key)];
      if (ring_.size() < kMost) {
        ring_.push_back(word(key));
      } else {
        const auto oldest = counts_.find(std::exchange(ring_[next_], word(key)));
        if (--oldest->second == 0) counts_.erase(oldest);
      }
      next_ = (next_ + 1) % kMost;
    });
  }
  bool contains(const Digest& key) const { return counts_.contains(word(key)); }

 private:
  static constexpr size_t kMost = 1 << 16;
  static uint64_t word(const Digest& key) {
    uint64_t word;
    std::memcpy(&word, key.data(), sizeof word);
    return word;
  }
  std::vector<uint64_t> ring_;
  std::unordered_map<uint64_t, int> counts_;
  size_t next_ = 0;
};

}  // namespace kvi
