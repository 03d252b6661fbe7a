#include "engine/snapshot_order.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

SnapshotOrder::SnapshotOrder(const SnapshotHeader& header)
    : page_len_(header.page_len),
      kv_len_(header.kv_len),
      end_page_(static_cast<int>((kv_len_ + page_len_ - 1) / page_len_)),
      index_(end_page_) {
  for (const SnapshotGroup& group : header.groups) {
    const int64_t first = group.window == 0
                              ? 0
                              : std::max<int64_t>(0, kv_len_ - group.window) / page_len_;
    groups_.push_back({group.window, static_cast<int>(first), group.layout.page_bytes});
    num_pages_ += end_page_ - first;
    index_ = std::min(index_, groups_.back().first_page);
  }
  // The first group that has the first index.
  while (index_ < end_page_ && groups_[group_].first_page > index_) ++group_;
}

std::optional<SnapshotPage> SnapshotOrder::page() const {
  if (index_ >= end_page_) return std::nullopt;
  return SnapshotPage{group_, index_, groups_[group_].page_bytes};
}

void SnapshotOrder::advance() {
  KVI_CHECK(index_ < end_page_);
  ++num_before_;
  // The group with the lowest first page has every later one, so this ends within two rounds of the groups.
  do {
    if (++group_ == static_cast<int>(groups_.size())) {
      group_ = 0;
      ++index_;
    }
  } while (index_ < end_page_ && groups_[group_].first_page > index_);
}

int64_t SnapshotOrder::usable_len(int64_t most_len) const {
  return supported(std::min(most_len, read_len()));
}

int64_t SnapshotOrder::whole_len(int64_t most_len) const {
  return supported(std::min(most_len, kv_len_));
}

bool SnapshotOrder::windows_end_it(int64_t most_len) const {
  most_len = std::min(most_len, kv_len_);
  return most_len > 0 &&
         (whole_len(most_len) == 0 || (read_len() > 0 && usable_len(most_len) == 0));
}

int64_t SnapshotOrder::read_len() const {
  return index_ >= end_page_ ? kv_len_ : int64_t{index_} * page_len_;
}

// A shorter prefix needs positions further back, so where len does not do, none above 0 does.
int64_t SnapshotOrder::supported(int64_t len) const {
  for (const Group& group : groups_) {
    const int64_t first_held = int64_t{group.first_page} * page_len_;
    if (first_held > 0 && len - group.window < first_held) return 0;
  }
  return len;
}

}  // namespace kvi
