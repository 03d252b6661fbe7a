#include "cache/page_range.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

PageRange::PageRange(std::unique_ptr<MemoryRange> memory, int num_pages, uint64_t page_bytes,
                     uint64_t granule_bytes)
    : memory_(std::move(memory)),
      num_pages_(num_pages),
      page_bytes_(page_bytes),
      granule_bytes_(granule_bytes) {}

PageRange::Granules PageRange::granules_of(PageId page) const {
  const uint64_t begin = static_cast<uint64_t>(page) * page_bytes_;
  return {static_cast<int>(begin / granule_bytes_),
          static_cast<int>((begin + page_bytes_ - 1) / granule_bytes_) + 1};
}

PageRange::Pages PageRange::pages_on(int granule) const {
  const uint64_t begin = static_cast<uint64_t>(granule) * granule_bytes_;
  const uint64_t last = (begin + granule_bytes_ - 1) / page_bytes_;
  return {static_cast<PageId>(begin / page_bytes_),
          static_cast<PageId>(std::min<uint64_t>(last + 1, static_cast<uint64_t>(num_pages_)))};
}

bool PageRange::is_mapped(PageId page) const { return num_missing_granules(page) == 0; }

int PageRange::num_missing_granules(PageId page) const {
  const auto [first, end] = granules_of(page);
  int missing = 0;
  for (int g = first; g < end; ++g) missing += g >= static_cast<int>(mapped_.size()) || !mapped_[g];
  return missing;
}

void PageRange::grow_to(PageId page) {
  const int end = granules_of(page).end;
  if (static_cast<int>(mapped_.size()) >= end) return;
  const PageId num_pages = pages_on(end - 1).end;
  used_.resize(std::max(used_.size(), static_cast<size_t>(num_pages)), false);
  free_mapped_.grow_to(num_pages);
  idle_.grow_to(end);
  num_users_.resize(std::max(num_users_.size(), static_cast<size_t>(end)), 0);
  mapped_.resize(end, false);  // the last: it says that all is done
}

bool PageRange::map(PageId page) {
  grow_to(page);
  const auto [first, end] = granules_of(page);
  for (int g = first; g < end; ++g) {
    if (mapped_[g]) continue;
    const uint64_t offset = static_cast<uint64_t>(g) * granule_bytes_;
    // What was mapped before stays, idle: the caller takes it back or retries.
    if (!memory_->commit(offset, std::min(granule_bytes_, memory_->size_bytes() - offset)))
      return false;
    mapped_[g] = true;
    ++num_mapped_;
    idle_.insert(g);
    const auto [first_page, end_page] = pages_on(g);
    for (PageId p = first_page; p < end_page; ++p) {
      if (is_mapped(p)) free_mapped_.insert(p);
    }
  }
  return true;
}

void PageRange::use(PageId page) {
  KVI_CHECK(free_mapped_.contains(page));
  free_mapped_.erase(page);
  used_[page] = true;
  const auto [first, end] = granules_of(page);
  for (int g = first; g < end; ++g) {
    if (num_users_[g]++ == 0) idle_.erase(g);
  }
}

void PageRange::unuse(PageId page) {
  KVI_CHECK(is_used(page));
  used_[page] = false;
  free_mapped_.insert(page);
  const auto [first, end] = granules_of(page);
  for (int g = first; g < end; ++g) {
    if (--num_users_[g] == 0) idle_.insert(g);
  }
}

bool PageRange::unmap_idle(PageId kept) {
  int granule = idle_.highest();
  if (granule < 0) return false;
  if (kept != kNoPage) {
    const Granules kept_ones = granules_of(kept);
    const auto is_kept = [&](int g) { return g >= kept_ones.first && g < kept_ones.end; };
    if (is_kept(granule)) granule = idle_.lowest();
    if (is_kept(granule)) return false;
  }
  const auto [first, end] = pages_on(granule);
  for (PageId p = first; p < end; ++p) free_mapped_.erase(p);
  idle_.erase(granule);
  mapped_[granule] = false;
  --num_mapped_;
  const uint64_t offset = static_cast<uint64_t>(granule) * granule_bytes_;
  memory_->decommit(offset, std::min(granule_bytes_, memory_->size_bytes() - offset));
  return true;
}

void PageRange::check_invariants() const {
  uint64_t num_mapped = 0;
  for (int g = 0; g < static_cast<int>(mapped_.size()); ++g) {
    int users = 0;
    const auto [first, end] = pages_on(g);
    for (PageId p = first; p < end; ++p) users += is_used(p);
    KVI_CHECK(users == num_users_[g] && (users == 0 || mapped_[g]));
    KVI_CHECK(idle_.contains(g) == (mapped_[g] && users == 0));
    num_mapped += mapped_[g];
    for (PageId p = first; p < end; ++p) {
      KVI_CHECK(free_mapped_.contains(p) == (is_mapped(p) && !is_used(p)));
    }
  }
  KVI_CHECK(num_mapped == num_mapped_);
}

}  // namespace kvi
