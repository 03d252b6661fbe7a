#include "cache/page_pool.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

std::optional<PageId> PagePool::allocate() {
  PageId page;
  if (!freed_.empty()) {
    page = freed_.top();
    freed_.pop();
  } else if (static_cast<int>(num_holders_.size()) < num_pages_) {
    page = static_cast<PageId>(num_holders_.size());
    num_holders_.push_back(0);
  } else {
    return std::nullopt;
  }
  KVI_DCHECK(num_holders_[page] == 0);
  num_holders_[page] = 1;
  ++num_held_;
  return page;
}

void PagePool::retain(PageId page) {
  KVI_CHECK(num_holders(page) > 0);
  ++num_holders_[page];
}

bool PagePool::release(PageId page) {
  KVI_CHECK(num_holders(page) > 0);
  if (--num_holders_[page] > 0) return false;
  --num_held_;
  freed_.push(page);
  return true;
}

int PagePool::num_holders(PageId page) const {
  KVI_CHECK(page >= 0 && page < static_cast<PageId>(num_holders_.size()));
  return num_holders_[page];
}

void PagePool::check_invariants() const {
  const auto held = std::count_if(num_holders_.begin(), num_holders_.end(),
                                  [](int n) { return n > 0; });
  KVI_CHECK(held == num_held_);
  KVI_CHECK(freed_.size() + num_held_ == num_holders_.size());
  KVI_CHECK(static_cast<int>(num_holders_.size()) <= num_pages_);
}

}  // namespace kvi
