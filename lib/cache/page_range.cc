#include "cache/page_range.h"

#include "base/error.h"

namespace kvi {

bool PageRange::commit(PageId page) {
  KVI_CHECK(!is_resident(page));
  if (!memory_->commit(static_cast<uint64_t>(page) * page_bytes_, page_bytes_)) return false;
  if (static_cast<size_t>(page) >= resident_.size()) resident_.resize(page + 1, false);
  resident_[page] = true;
  ++num_resident_;
  return true;
}

void PageRange::decommit(PageId page) {
  KVI_CHECK(is_resident(page));
  memory_->decommit(static_cast<uint64_t>(page) * page_bytes_, page_bytes_);
  resident_[page] = false;
  --num_resident_;
}

}  // namespace kvi
