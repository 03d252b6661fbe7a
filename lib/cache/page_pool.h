// Hands out the KV pages of one layer group and counts their holders.
//
// The pool deals in page ids only; the bytes belong to a PageRange. So this file builds and is tested
// without a device.
//
// Not thread-safe: owned by CacheManager.
#pragma once

#include <functional>
#include <optional>
#include <queue>
#include <vector>

#include "tensor/layout.h"

namespace kvi {

class PagePool {
 public:
  explicit PagePool(int num_pages) : num_pages_(num_pages) {}

  // Returns the lowest free page, with one holder, or nullopt when none is left.
  // Running out is not an error: the caller waits or ends a request.
  std::optional<PageId> allocate();

  void retain(PageId page);   // requires: page is held
  bool release(PageId page);  // requires: page is held; true when its last holder let go

  int num_holders(PageId page) const;
  int num_pages() const { return num_pages_; }
  int num_held() const { return num_held_; }

  void check_invariants() const;  // each page is either free or held

 private:
  const int num_pages_;
  int num_held_ = 0;
  std::vector<int> num_holders_;  // by page, up to the highest ever used; 0 when free
  // Lowest first, so that memory empties from the top.
  std::priority_queue<PageId, std::vector<PageId>, std::greater<>> freed_;
};

}  // namespace kvi
