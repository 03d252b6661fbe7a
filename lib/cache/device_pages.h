// The pages of all layer groups in the device's memory, within one budget.
//
// Each group has its ids and its address range; granules of memory are leased from the budget and move between
// groups: a group that is short takes what another has mapped and does not use. Which cached page is given up for
// it is decided above.
//
// Not thread-safe: owned by CacheManager. The MemoryBudget may be shared with other engines.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "base/memory_range.h"
#include "cache/layer_group.h"
#include "cache/memory_budget.h"
#include "cache/page_pool.h"
#include "cache/page_range.h"

namespace kvi {

using ReserveMemory = std::function<std::unique_ptr<MemoryRange>(uint64_t num_bytes)>;

// Memory is leased in pieces of this size: 2 MiB, or less where the budget has few of them.
uint64_t granule_bytes_for(uint64_t budget_bytes);

class DevicePages {
 public:
  // range_bytes: of addresses for each group, the most that a budget may ever be.
  DevicePages(const std::vector<LayerGroup>& groups, std::shared_ptr<MemoryBudget> budget,
              uint64_t budget_bytes, uint64_t range_bytes, const ReserveMemory& reserve_memory);
  ~DevicePages();
  DevicePages(const DevicePages&) = delete;
  DevicePages& operator=(const DevicePages&) = delete;

  // A free page, RESERVED for the caller, or kNoPage: the budget or the system has no memory for it.
  // to_zero: set where it held another scope's tokens.
  PageId allocate(int group, int scope, bool& to_zero);
  // One with a lower id than page, for who will overwrite all of it. kNoPage: none is free, with memory or room for it.
  PageId allocate_below(int group, PageId page, int scope);
  // Asks the other members of a shared budget to give back what they only cache.
  void call_for_memory() const { shared_budget_->call_for_memory(member_); }
  void set_member(int member) { member_ = member; }  // of the shared budget

  void retain(int group, PageId page);
  void release(int group, PageId page);
  void index(int group, PageId page, NodeId node);
  void unindex(int group, PageId page);
  void begin_flight(int group, PageId page);
  void end_flight(int group, PageId page);
  // Nobody knows what the page holds: whoever has it next zeroes it first.
  void forget_content(int group, PageId page) { pool_of(group).set_scope(page, kUnknownScope); }
  void set_state(int group, PageId page, PageState state) { pool_of(group).set_state(page, state); }

  const PagePool& pool(int group) const { return memory_[group].pool; }
  const PageRange& range(int group) const { return memory_[group].range; }
  std::byte* address(int group) const { return memory_[group].range.address(); }
  int num_groups() const { return static_cast<int>(memory_.size()); }

  // Own limit, besides that of a shared budget.
  uint64_t budget_bytes() const { return budget_bytes_; }
  // The most that it may ever lease: of its own budget, or of the shared one where that is less, whole granules.
  uint64_t limit_bytes() const {
    return std::min(budget_bytes_, shared_budget_->limit()) / granule_bytes_ * granule_bytes_;
  }
  void set_budget(uint64_t budget_bytes) { budget_bytes_ = budget_bytes; }
  uint64_t range_bytes() const { return range_bytes_; }
  uint64_t granule_bytes() const { return granule_bytes_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t bytes_in_class(PageClass page_class) const;
  uint64_t used_bytes() const { return used_bytes_; }  // allocated: private and pinned
  // Leased beyond the limits, to be given back as soon as it can be.
  uint64_t excess_bytes() const;
  // Unmaps idle granules until num_bytes are given back or none is idle; returns what was given back.
  uint64_t give_back_idle(uint64_t num_bytes);
  uint64_t idle_bytes() const;

  void check_invariants() const;

 private:
  static constexpr int kUnknownScope = -2;
  struct GroupMemory {
    PagePool pool;
    PageRange range;
  };
  PagePool& pool_of(int group) { return memory_[group].pool; }
  bool lease(uint64_t num_bytes);
  bool map(int group, PageId page);
  void take(int group, PageId page, int scope, bool& to_zero);
  // An idle granule of any group, but none of this page's.
  bool give_back_granule(int group, PageId kept);
  template <typename Change>
  void change(int group, PageId page, const Change& change);

  std::shared_ptr<MemoryBudget> shared_budget_;
  int member_ = -1;
  uint64_t budget_bytes_;
  const uint64_t range_bytes_;
  const uint64_t granule_bytes_;
  std::vector<GroupMemory> memory_;  // [group]
  uint64_t mapped_bytes_ = 0, used_bytes_ = 0;
};

}  // namespace kvi
