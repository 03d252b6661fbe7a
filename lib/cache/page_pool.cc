#include "cache/page_pool.h"

#include "base/error.h"

namespace kvi {

PageClass PagePool::class_of(const Info& info) {
  const bool indexed = info.node != kNoNode;
  if (info.num_holders > 0) return indexed ? PageClass::pinned : PageClass::private_;
  if (info.num_flights > 0) return PageClass::deferred;
  return indexed ? PageClass::cached : PageClass::free;
}

const PagePool::Info& PagePool::info(PageId page) const {
  KVI_CHECK(page >= 0 && page < static_cast<PageId>(pages_.size()));
  return pages_[page];
}

template <typename Change>
void PagePool::change(PageId page, const Change& change) {
  Info& info = pages_[page];
  const PageClass before = class_of(info);
  change(info);
  const PageClass after = class_of(info);
  if (before == after) return;
  --counts_[static_cast<int>(before)];
  ++counts_[static_cast<int>(after)];
  if (after == PageClass::free) {
    info.state = PageState::free;
    ++info.generation;
    freed_.insert(page);
  } else if (before == PageClass::free) {
    freed_.erase(page);
  }
}

PageId PagePool::lowest_free() const {
  if (!freed_.empty()) return freed_.lowest();
  return static_cast<int>(pages_.size()) < num_pages_ ? static_cast<PageId>(pages_.size())
                                                      : kNoPage;
}

void PagePool::take(PageId page) {
  KVI_CHECK(page >= 0 && page < num_pages_);
  const PageId num_known = static_cast<PageId>(pages_.size());
  if (page >= num_known) {
    freed_.grow_to(page + 1);
    pages_.resize(static_cast<size_t>(page) + 1);
    for (PageId added = num_known; added <= page; ++added) freed_.insert(added);
    counts_[static_cast<int>(PageClass::free)] += page + 1 - num_known;
  }
  KVI_CHECK(pages_[page].state == PageState::free);
  change(page, [](Info& info) {
    info.num_holders = 1;
    info.state = PageState::reserved;
  });
}

void PagePool::retain(PageId page) {
  KVI_CHECK(info(page).state != PageState::free);
  change(page, [](Info& info) { ++info.num_holders; });
}

void PagePool::release(PageId page) {
  KVI_CHECK(info(page).num_holders > 0);
  change(page, [](Info& info) { --info.num_holders; });
}

void PagePool::index(PageId page, NodeId node) {
  KVI_CHECK(info(page).state != PageState::free && info(page).node == kNoNode);
  change(page, [&](Info& info) { info.node = node; });
}

void PagePool::unindex(PageId page) {
  KVI_CHECK(info(page).node != kNoNode);
  change(page, [](Info& info) { info.node = kNoNode; });
}

void PagePool::begin_flight(PageId page) {
  KVI_CHECK(info(page).state != PageState::free);
  change(page, [](Info& info) { ++info.num_flights; });
}

void PagePool::end_flight(PageId page) {
  KVI_CHECK(info(page).num_flights > 0);
  change(page, [](Info& info) { --info.num_flights; });
}

void PagePool::set_state(PageId page, PageState state) {
  KVI_CHECK(info(page).state != PageState::free && state != PageState::free);
  pages_[page].state = state;
}

void PagePool::check_invariants() const {
  std::array<int, kNumPageClasses> counts = {};
  for (PageId page = 0; page < static_cast<PageId>(pages_.size()); ++page) {
    const PageClass page_class = class_of(pages_[page]);
    ++counts[static_cast<int>(page_class)];
    KVI_CHECK((page_class == PageClass::free) == (pages_[page].state == PageState::free));
    KVI_CHECK((page_class == PageClass::free) == freed_.contains(page));
  }
  KVI_CHECK(counts == counts_);
}

}  // namespace kvi
