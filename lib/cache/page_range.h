// The memory behind one group's page ids: page p lies at base + p * page_bytes, for ever.
//
// Memory comes and goes in granules; pages may straddle them, so no page size wastes any. A granule is mapped
// before a page on it is used, and may be unmapped when every page on it is free. What is mapped but free is
// kept until somebody needs it: using it again costs nothing.
//
// Not thread-safe: owned by DevicePages, which leases what is mapped.
#pragma once

#include <memory>
#include <vector>

#include "base/memory_range.h"
#include "cache/id_set.h"
#include "tensor/layout.h"

namespace kvi {

class PageRange {
 public:
  PageRange(std::unique_ptr<MemoryRange> memory, int num_pages, uint64_t page_bytes,
            uint64_t granule_bytes);

  std::byte* address() const { return memory_->address(); }
  int num_pages() const { return num_pages_; }
  uint64_t page_bytes() const { return page_bytes_; }
  uint64_t mapped_bytes() const { return num_mapped_ * granule_bytes_; }

  bool is_mapped(PageId page) const;  // all of it
  int num_missing_granules(PageId page) const;
  // Whatever is done with pages up to this one allocates nothing.
  void grow_to(PageId page);
  bool map(PageId page);    // what is missing; false: the system refused memory
  void use(PageId page);    // requires: mapped, not in use
  void unuse(PageId page);  // its granules may be unmapped when they have no other
  int num_idle_granules() const { return idle_.size(); }  // mapped, and no page on them in use
  // An idle granule, the highest that is no part of `kept`; kNoPage: nothing is kept. False: there is none.
  bool unmap_idle(PageId kept = kNoPage);
  bool is_used(PageId page) const {
    return page < static_cast<PageId>(used_.size()) && used_[page];
  }
  struct Pages {
    PageId first, end;
  };
  Pages pages_on(int granule) const;
  int num_granules() const {
    return static_cast<int>(mapped_.size());
  }  // up to the highest ever mapped
  bool is_granule_mapped(int granule) const { return mapped_[granule]; }
  // Free pages with all their memory.
  PageId lowest_free_mapped() const { return free_mapped_.lowest(); }
  int num_free_mapped() const { return free_mapped_.size(); }

  void check_invariants() const;

 private:
  struct Granules {
    int first, end;
  };
  Granules granules_of(PageId page) const;

  std::unique_ptr<MemoryRange> memory_;
  const int num_pages_;
  const uint64_t page_bytes_;
  const uint64_t granule_bytes_;
  uint64_t num_mapped_ = 0;
  std::vector<bool> mapped_;    // [granule]
  std::vector<int> num_users_;  // [granule]: pages in use on it
  std::vector<bool> used_;      // [page], up to the highest ever used
  IdSet idle_;                  // granules
  IdSet free_mapped_;           // pages
};

}  // namespace kvi
