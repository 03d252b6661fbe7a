#include "format/extents.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace kvi {

void sort_and_check_overlap(std::vector<Extent>& extents, const std::string& path) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < extents.size(); ++i) {
    const Extent& left = extents[i - 1];
    const Extent& right = extents[i];
    if (right.begin < left.end) {
      throw Error(Status::CORRUPT,
                  concat(quoted(path, 400), ": tensors ", quoted(left.name), " (bytes ", left.begin,
                         " to ", left.end, ") and ", quoted(right.name), " (bytes ", right.begin,
                         " to ", right.end, ") overlap; the file is damaged"));
    }
  }
}

}  // namespace kvi
