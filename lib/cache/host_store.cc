#include "cache/host_store.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/text.h"

namespace kvi {

// One group's slots: a range of pages, and a range of entries that say what they hold.
class HostStore::GroupSlots {
 public:
  GroupSlots(const TierGroup& group, uint64_t budget_bytes,
             const std::function<std::unique_ptr<MemoryRange>(uint64_t)>& reserve_pages)
      : page_bytes_(group.page_bytes),
        page_len_(group.page_len),
        entry_bytes_((sizeof(Entry) + sizeof(int32_t) * group.page_len + alignof(Entry) - 1) /
                     alignof(Entry) * alignof(Entry)),
        num_slots_(static_cast<int>(std::min<uint64_t>(budget_bytes / group.page_bytes,
                                                       std::numeric_limits<SlotId>::max()))) {
    if (num_slots_ == 0) return;
    pages_ = reserve_pages(num_slots_ * page_bytes_);
    entries_ = reserve_host_memory(num_slots_ * entry_bytes_);
  }

  uint64_t page_bytes() const { return page_bytes_; }
  int num_slots() const { return num_slots_; }
  std::byte* page(SlotId slot) const { return pages_->address() + slot * page_bytes_; }
  bool takes(const PageRecord& record, size_t num_bytes) const {
    return num_bytes == page_bytes_ && record.tokens.size() <= static_cast<size_t>(page_len_);
  }

  // What has no entry yet was never used.
  bool has_entry(SlotId slot) const { return slot < num_entries_; }
  bool make_entry(SlotId slot) {
    if (has_entry(slot)) return true;
    if (!entries_->commit(0, (slot + 1) * entry_bytes_)) return false;
    num_entries_ = slot + 1;
    return true;
  }
  bool is_used(SlotId slot) const { return has_entry(slot) && entry(slot).state == State::used; }
  bool is_resident(SlotId slot) const {
    return slot >= 0 && has_entry(slot) && entry(slot).state != State::absent;
  }

  bool commit(SlotId slot) { return pages_->commit(slot * page_bytes_, page_bytes_); }

  // Gives memory back, but not where it is part of a resident neighbour.
  void decommit(SlotId slot) {
    unlist(slot);
    entry(slot).state = State::absent;
    const uint64_t granule = pages_->granule_bytes();
    uint64_t begin = slot * page_bytes_;
    uint64_t end = begin + page_bytes_;
    const uint64_t first = begin / granule * granule;
    const uint64_t last = std::min((end + granule - 1) / granule * granule, pages_->size_bytes());
    if (!any_resident(first, begin)) begin = first;
    if (!any_resident(end, last)) end = last;
    pages_->decommit(begin, end - begin);
  }

  // A resident slot that holds nothing; -1: there is none.
  SlotId spare() const { return first_spare_ - 1; }

  void set_used(SlotId slot, const PageRecord& record) {
    Entry& kept = entry(slot);
    if (kept.state == State::spare) unlist(slot);
    kept.state = State::used;
    kept.key = record.key;
    kept.parent = record.parent;
    kept.scope = record.scope;
    kept.first_token = record.first_token;
    kept.num_tokens = static_cast<int32_t>(record.tokens.size());
    std::copy(record.tokens.begin(), record.tokens.end(), tokens(slot));
  }

  void set_spare(SlotId slot) {
    Entry& kept = entry(slot);
    kept.state = State::spare;
    kept.previous = 0;
    kept.next = first_spare_;
    if (first_spare_ != 0) entry(first_spare_ - 1).previous = slot + 1;
    first_spare_ = slot + 1;
  }

  bool holds(SlotId slot, const PageRecord& expected) const {
    if (!is_used(slot)) return false;
    const Entry& kept = entry(slot);
    return kept.key == expected.key && kept.parent == expected.parent &&
           kept.scope == expected.scope && kept.first_token == expected.first_token &&
           static_cast<size_t>(kept.num_tokens) == expected.tokens.size() &&
           std::equal(expected.tokens.begin(), expected.tokens.end(), tokens(slot));
  }

 private:
  enum class State : uint8_t { absent, spare, used };  // fresh memory is zero: absent

  struct Entry {  // page_len tokens follow
    Digest key, parent, scope;
    int32_t first_token, num_tokens;
    SlotId previous, next;  // in the list of spares, plus 1; 0: none
    State state;
  };

  Entry& entry(SlotId slot) const {
    return *reinterpret_cast<Entry*>(entries_->address() + slot * entry_bytes_);
  }
  int32_t* tokens(SlotId slot) const { return reinterpret_cast<int32_t*>(&entry(slot) + 1); }

  void unlist(SlotId slot) {
    const Entry& kept = entry(slot);
    (kept.previous == 0 ? first_spare_ : entry(kept.previous - 1).next) = kept.next;
    if (kept.next != 0) entry(kept.next - 1).previous = kept.previous;
  }

  bool any_resident(uint64_t begin, uint64_t end) const {
    if (begin == end) return false;
    const SlotId last = static_cast<SlotId>((end - 1) / page_bytes_);
    for (SlotId slot = static_cast<SlotId>(begin / page_bytes_); slot <= last; ++slot) {
      if (is_resident(slot)) return true;
    }
    return false;
  }

  const uint64_t page_bytes_;
  const int page_len_;
  const uint64_t entry_bytes_;
  const int num_slots_;
  std::unique_ptr<MemoryRange> pages_, entries_;
  SlotId num_entries_ = 0;
  SlotId first_spare_ = 0;  // plus 1
};

HostStore::HostStore(const std::vector<TierGroup>& groups, uint64_t budget_bytes,
                     const std::function<std::unique_ptr<MemoryRange>(uint64_t)>& reserve_pages)
    : budget_bytes_(budget_bytes) {
  uint64_t least = 0;
  for (const TierGroup& group : groups) {
    KVI_CHECK(group.page_bytes > 0 && group.page_len > 0);
    least += group.page_bytes;
  }
  if (budget_bytes < least) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("a host tier of ", budget_bytes,
                       " bytes is too small for one page of each layer group (", least,
                       " bytes); raise its capacity"))
        .amounts(least, budget_bytes);
  }
  for (const TierGroup& group : groups) {
    groups_.push_back(std::make_unique<GroupSlots>(group, budget_bytes, reserve_pages));
  }
  stats_.capacity_bytes = budget_bytes;
}

HostStore::~HostStore() = default;

int HostStore::num_slots(int group) const { return groups_[group]->num_slots(); }

HostStore::GroupSlots* HostStore::find(int group, SlotId slot) {
  if (group < 0 || static_cast<size_t>(group) >= groups_.size()) return nullptr;
  return slot >= 0 && slot < groups_[group]->num_slots() ? groups_[group].get() : nullptr;
}

// Used slots fit the budget, so where resident ones would not, a spare one can be given back.
bool HostStore::make_resident(GroupSlots& group, SlotId slot) {
  if (group.is_resident(slot)) return true;
  for (const auto& other : groups_) {
    while (resident_bytes_ + group.page_bytes() > budget_bytes_ && other->spare() >= 0) {
      other->decommit(other->spare());
      resident_bytes_ -= other->page_bytes();
    }
  }
  if (!group.commit(slot)) return false;
  resident_bytes_ += group.page_bytes();
  group.set_spare(slot);
  return true;
}

std::byte* HostStore::begin_write(SlotId slot, const PageRecord& record,
                                  uint64_t num_bytes) noexcept {
  GroupSlots* group = find(record.group, slot);
  if (group == nullptr || !group->takes(record, num_bytes)) return nullptr;
  const bool was_used = group->is_used(slot);
  if (!was_used && group->page_bytes() > budget_bytes_ - used_bytes_) return nullptr;
  if (!group->make_entry(slot) || !make_resident(*group, slot)) return nullptr;
  if (!was_used) used_bytes_ += group->page_bytes();
  group->set_used(slot, record);
  return group->page(slot);
}

void HostStore::end_write(SlotId slot, const PageRecord& record, bool is_whole) noexcept {
  if (!is_whole) discard(record.group, slot);
  count_write(is_whole, groups_[record.group]->page_bytes());
}

bool HostStore::write(SlotId slot, const PageRecord& record,
                      std::span<const std::byte> page) noexcept {
  std::byte* kept = begin_write(slot, record, page.size());
  if (kept != nullptr) std::memcpy(kept, page.data(), page.size());
  count_write(kept != nullptr, page.size());
  return kept != nullptr;
}

void HostStore::count_write(bool is_kept, uint64_t num_bytes) noexcept {
  const std::lock_guard lock(stats_mutex_);
  stats_.used_bytes = used_bytes_;
  stats_.num_written += is_kept;
  stats_.bytes_written += is_kept ? num_bytes : 0;
  stats_.num_refused += !is_kept;
}

std::byte* HostStore::locate(SlotId slot, const PageRecord& expected, uint64_t num_bytes) noexcept {
  const GroupSlots* group = find(expected.group, slot);
  const bool right = group != nullptr && group->takes(expected, num_bytes) &&
                     group->holds(slot, expected);
  const std::lock_guard lock(stats_mutex_);
  stats_.num_read += right;
  stats_.bytes_read += right ? num_bytes : 0;
  stats_.num_mismatches += !right;
  return right ? group->page(slot) : nullptr;
}

bool HostStore::read(SlotId slot, const PageRecord& expected, std::span<std::byte> page) noexcept {
  const std::byte* kept = locate(slot, expected, page.size());
  if (kept != nullptr) std::memcpy(page.data(), kept, page.size());
  return kept != nullptr;
}

void HostStore::discard(int group_index, SlotId slot) noexcept {
  GroupSlots* group = find(group_index, slot);
  if (group == nullptr || !group->is_used(slot)) return;
  group->set_spare(slot);
  used_bytes_ -= group->page_bytes();
  const std::lock_guard lock(stats_mutex_);
  stats_.used_bytes = used_bytes_;
}

TierStats HostStore::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

}  // namespace kvi
