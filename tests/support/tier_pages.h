// Made-up KV pages for tests of tiers: record and bytes follow from a number, and the bytes from the record's
// key alone, so that whoever finds a record can tell whether a page is the right one.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "cache/tier_store.h"

namespace kvi {

inline Digest test_digest(uint64_t number, uint64_t purpose) {
  Digest digest;
  for (uint64_t i = 0; i < 4; ++i) {
    const uint64_t bits = random_bits(number, 4 * purpose + i);
    std::memcpy(&digest[8 * i], &bits, 8);
  }
  return digest;
}

inline std::vector<std::byte> page_of_key(const Digest& key, uint64_t page_bytes) {
  uint64_t word = 0;
  std::memcpy(&word, key.data(), 8);
  std::vector<std::byte> page(page_bytes);
  for (uint64_t at = 0; at < page_bytes; at += 8) {
    word = word * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
    std::memcpy(&page[at], &word, std::min<uint64_t>(8, page_bytes - at));
  }
  return page;
}

class TestPage {
 public:
  explicit TestPage(uint64_t number, int group = 0, int page_len = 16)
      : number_(number),
        group_(group),
        tokens_(number % 5 == 0 ? 1 + number % page_len : page_len) {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = static_cast<int32_t>(random_bits(number, 100 + i) >> 40);
    }
  }

  PageRecord record() const {
    return {test_digest(number_, group_),          test_digest(number_, 10),
            test_digest(number_ % 3, 11),          group_,
            static_cast<int>(number_ % 1000) * 16, tokens_};
  }
  std::vector<std::byte> bytes(uint64_t page_bytes) const {
    return page_of_key(record().key, page_bytes);
  }

 private:
  uint64_t number_;
  int group_;
  std::vector<int32_t> tokens_;
};

}  // namespace kvi
