// Which bytes of a file each tensor takes, and the check that no two claim the same ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvi {

struct Extent {
  std::string name;    // of the tensor
  uint64_t begin = 0;  // bytes from the start of the file
  uint64_t end = 0;    // past the last byte
};

// Sorts by begin. Throws CORRUPT naming both tensors when two overlap.
void sort_and_check_overlap(std::vector<Extent>& extents, const std::string& path);

}  // namespace kvi
