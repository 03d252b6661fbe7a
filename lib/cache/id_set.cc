#include "cache/id_set.h"

namespace kvi {

void IdSet::grow_to(int32_t num_ids) {
  std::size_t words = static_cast<std::size_t>(num_ids);
  for (std::vector<uint64_t>& level : levels_) {
    words = (words + 63) / 64;
    if (level.size() < words) level.resize(words, 0);
  }
}

void IdSet::insert(int32_t id) {
  if (contains(id)) return;
  grow_to(id + 1);
  ++size_;
  std::size_t index = static_cast<std::size_t>(id);
  for (std::vector<uint64_t>& level : levels_) {
    const std::size_t word = index / 64;
    const bool was_empty = level[word] == 0;
    level[word] |= uint64_t{1} << (index % 64);
    if (!was_empty) return;
    index = word;
  }
}

void IdSet::erase(int32_t id) {
  if (!contains(id)) return;
  --size_;
  std::size_t index = static_cast<std::size_t>(id);
  for (std::vector<uint64_t>& level : levels_) {
    uint64_t& word = level[index / 64];
    word &= ~(uint64_t{1} << (index % 64));
    if (word != 0) return;
    index /= 64;
  }
}

int32_t IdSet::lowest() const {
  if (empty()) return -1;
  std::size_t index = 0;
  for (int level = kLevels - 1; level >= 0; --level) {
    index = index * 64 + static_cast<std::size_t>(std::countr_zero(levels_[level][index]));
  }
  return static_cast<int32_t>(index);
}

int32_t IdSet::highest() const {
  if (empty()) return -1;
  std::size_t index = 0;
  for (int level = kLevels - 1; level >= 0; --level) {
    index = index * 64 + 63 - static_cast<std::size_t>(std::countl_zero(levels_[level][index]));
  }
  return static_cast<int32_t>(index);
}

}  // namespace kvi
