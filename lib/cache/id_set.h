// A set of small ids that knows its lowest and highest member: a tree of 64-bit words, each bit of which says
// whether the word below it has any. All operations take as many steps as there are levels, four for 10^6 ids.
//
// Not thread-safe.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvi {

class IdSet {
 public:
  bool contains(int32_t id) const {
    const std::size_t word = static_cast<std::size_t>(id) / 64;
    return word < levels_[0].size() && (levels_[0][word] >> (id % 64) & 1) != 0;
  }
  // So that inserting ids below num_ids allocates nothing.
  void grow_to(int32_t num_ids);
  void insert(int32_t id);
  void erase(int32_t id);
  int32_t lowest() const;  // -1: empty
  int32_t highest() const;
  bool empty() const { return size_ == 0; }
  int size() const { return size_; }

 private:
  static constexpr int kLevels = 6;  // 64^6 > 2^31

  std::array<std::vector<uint64_t>, kLevels> levels_;  // ids first, the root last
  int size_ = 0;
};

}  // namespace kvi
