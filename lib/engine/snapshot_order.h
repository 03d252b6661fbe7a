// Which pages a snapshot holds, in which order, and how long a prefix those before a point make.
//
// Pages lie by position, then by group. A group of width W has those of the last W computed positions only; a group
// without one has all.
//
// Not thread-safe.
#pragma once

#include <optional>
#include <vector>

#include "engine/snapshot_header.h"

namespace kvi {

struct SnapshotPage {
  int group = 0;
  int index = 0;  // holds positions [index * page_len, (index + 1) * page_len)
  uint64_t num_bytes = 0;
};

class SnapshotOrder {
 public:
  explicit SnapshotOrder(const SnapshotHeader& header);

  std::optional<SnapshotPage> page() const;           // the current one; nullopt after the last
  void advance();                                     // requires: page()
  int64_t num_before() const { return num_before_; }  // pages before the current one
  int64_t num_pages() const { return num_pages_; }
  int64_t num_pages_of(int group) const { return end_page_ - groups_[group].first_page; }

  // The longest prefix, of at most most_len positions, whose K and V the pages before the current one hold: all of
  // it in groups without a window, and its last W positions in the others. A window's pages end a shorter prefix
  // only if they reach back far enough, so what is left of a truncated snapshot with windows is often 0.
  int64_t usable_len(int64_t most_len) const;
  // As usable_len when all pages were read.
  int64_t whole_len(int64_t most_len) const;
  // Whether windows are why a shorter prefix than the snapshot's has no K and V.
  bool windows_end_it(int64_t most_len) const;

 private:
  struct Group {
    int window;
    int first_page;
    uint64_t page_bytes;
  };

  int64_t read_len() const;
  int64_t supported(int64_t len) const;

  int page_len_;
  int64_t kv_len_;
  int end_page_;
  std::vector<Group> groups_;
  int group_ = 0, index_ = 0;
  int64_t num_before_ = 0, num_pages_ = 0;
};

}  // namespace kvi
