// The memory behind one group's page ids: page p lies at base + p * page_bytes, for ever.
//
// Memory is committed when a page is first used, and given back page by page when another group needs
// it, so that all groups together stay within one budget. What is resident but free is kept: using it
// again costs nothing.
//
// Not thread-safe: owned by CacheManager.
#pragma once

#include <memory>
#include <vector>

#include "base/memory_range.h"
#include "tensor/layout.h"

namespace kvi {

class PageRange {
 public:
  PageRange(std::unique_ptr<MemoryRange> memory, uint64_t page_bytes)
      : memory_(std::move(memory)), page_bytes_(page_bytes) {}

  std::byte* address() const { return memory_->address(); }
  uint64_t page_bytes() const { return page_bytes_; }
  bool is_resident(PageId page) const {
    return page < static_cast<PageId>(resident_.size()) && resident_[page];
  }
  int num_resident() const { return num_resident_; }

  bool commit(PageId page);    // false: the system refused memory
  void decommit(PageId page);  // requires: resident, and held by nobody
  // The highest resident page for which is_free, or kNoPage.
  template <typename IsFree>
  PageId highest_resident(const IsFree& is_free) const {
    for (PageId page = static_cast<PageId>(resident_.size()) - 1; page >= 0; --page) {
      if (resident_[page] && is_free(page)) return page;
    }
    return kNoPage;
  }

 private:
  std::unique_ptr<MemoryRange> memory_;
  uint64_t page_bytes_;
  std::vector<bool> resident_;  // by page
  int num_resident_ = 0;
};

}  // namespace kvi
