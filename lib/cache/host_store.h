// The host tier: pages in host memory, within a strict budget.
//
// Each group has a reserved range, so that a slot never moves; memory is committed when a slot is first used,
// and what is discarded stays committed until another slot needs the budget. The records of the slots (about
// 200 bytes each) are beside it and are not counted.
//
// Threads: as TierStore.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/memory_range.h"
#include "cache/tier_store.h"

namespace kvi {

class HostStore final : public TierStore {
 public:
  // reserve_pages: where the pages lie, such as memory that a device can copy from.
  // Throws OUT_OF_MEMORY when not even the addresses can be had.
  HostStore(const std::vector<TierGroup>& groups, uint64_t budget_bytes,
            const std::function<std::unique_ptr<MemoryRange>(uint64_t)>& reserve_pages);
  ~HostStore() override;

  int num_slots(int group) const override;
  bool write(SlotId slot, const PageRecord& record,
             std::span<const std::byte> page) noexcept override;
  bool read(SlotId slot, const PageRecord& expected, std::span<std::byte> page) noexcept override;
  std::byte* begin_write(SlotId slot, const PageRecord& record,
                         uint64_t num_bytes) noexcept override;
  void end_write(SlotId slot, const PageRecord& record, bool is_whole) noexcept override;
  std::byte* locate(SlotId slot, const PageRecord& expected, uint64_t num_bytes) noexcept override;
  void discard(int group, SlotId slot) noexcept override;
  TierStats stats() const override;

  uint64_t resident_bytes() const { return resident_bytes_; }  // never above the budget

 private:
  class GroupSlots;

  void count_write(bool is_kept, uint64_t num_bytes) noexcept;
  bool make_resident(GroupSlots& group, SlotId slot);
  GroupSlots* find(int group, SlotId slot);

  const uint64_t budget_bytes_;
  std::vector<std::unique_ptr<GroupSlots>> groups_;
  uint64_t used_bytes_ = 0, resident_bytes_ = 0;

  mutable std::mutex stats_mutex_;
  TierStats stats_;
};

}  // namespace kvi
