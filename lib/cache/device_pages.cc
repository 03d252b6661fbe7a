#include "cache/device_pages.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr uint64_t kLargestGranule = uint64_t{2} << 20;
constexpr uint64_t kSmallestGranule = 4096;
// Of a budget, so that the last one of each group wastes little.
constexpr uint64_t kLeastGranules = 512;

bool is_used(PageClass page_class) {
  return page_class == PageClass::private_ || page_class == PageClass::pinned;
}

}  // namespace

uint64_t granule_bytes_for(uint64_t budget_bytes) {
  return std::clamp(std::bit_floor(budget_bytes / kLeastGranules), kSmallestGranule,
                    kLargestGranule);
}

DevicePages::DevicePages(const std::vector<LayerGroup>& groups,
                         std::shared_ptr<MemoryBudget> budget, uint64_t budget_bytes,
                         uint64_t range_bytes, const ReserveMemory& reserve_memory)
    : shared_budget_(std::move(budget)),
      budget_bytes_(budget_bytes),
      range_bytes_(std::max(budget_bytes, range_bytes)),
      granule_bytes_(granule_bytes_for(budget_bytes)) {
  for (const LayerGroup& group : groups) {
    const uint64_t page_bytes = group.layout.page_bytes;
    const uint64_t num_pages = std::min<uint64_t>(range_bytes_ / page_bytes, 1 << 30);
    const uint64_t num_bytes = num_pages * page_bytes;
    memory_.push_back({PagePool(static_cast<int>(num_pages)),
                       PageRange(reserve_memory(num_bytes), static_cast<int>(num_pages), page_bytes,
                                 granule_bytes_)});
  }
}

DevicePages::~DevicePages() { shared_budget_->give_back(mapped_bytes_); }

bool DevicePages::lease(uint64_t num_bytes) {
  return mapped_bytes_ + num_bytes <= budget_bytes_ && shared_budget_->lease(num_bytes);
}

bool DevicePages::give_back_granule(int group, PageId kept) {
  for (int g = 0; g < num_groups(); ++g) {
    if (!memory_[g].range.unmap_idle(g == group ? kept : kNoPage)) continue;
    mapped_bytes_ -= granule_bytes_;
    shared_budget_->give_back(granule_bytes_);
    return true;
  }
  return false;
}

PageId DevicePages::allocate(int group, int scope, bool& to_zero) {
  auto& [pool, range] = memory_[group];
  PageId page = range.lowest_free_mapped();
  if (page == kNoPage) {
    page = pool.lowest_free();
    if (page == kNoPage) return kNoPage;
    range.grow_to(page);
    while (!lease(range.num_missing_granules(page) * granule_bytes_)) {
      if (!give_back_granule(group, page)) return kNoPage;
    }
    if (!map(group, page)) return kNoPage;
    page = range.lowest_free_mapped();
  }
  take(group, page, scope, to_zero);
  return page;
}

PageId DevicePages::allocate_below(int group, PageId page, int scope) {
  auto& [pool, range] = memory_[group];
  PageId lower = pool.lowest_free();
  if (lower == kNoPage || lower >= page) return kNoPage;
  range.grow_to(lower);
  const bool may_map = range.is_mapped(lower) ||
                       (lease(range.num_missing_granules(lower) * granule_bytes_) &&
                        map(group, lower));
  if (!may_map) lower = range.lowest_free_mapped();
  if (lower == kNoPage || lower >= page) return kNoPage;
  bool to_zero;  // all of it is overwritten
  take(group, lower, scope, to_zero);
  return lower;
}

// requires: what is missing has been leased. False: the system refused memory.
bool DevicePages::map(int group, PageId page) {
  PageRange& range = memory_[group].range;
  const uint64_t num_leased = range.num_missing_granules(page) * granule_bytes_;
  const uint64_t mapped_before = range.mapped_bytes();
  const Undo give_back_rest([&] {  // also where a device fails
    const uint64_t newly_mapped = range.mapped_bytes() - mapped_before;
    mapped_bytes_ += newly_mapped;
    shared_budget_->give_back(num_leased - newly_mapped);
  });
  return range.map(page);
}

void DevicePages::take(int group, PageId page, int scope, bool& to_zero) {
  auto& [pool, range] = memory_[group];
  pool.take(page);
  range.use(page);
  used_bytes_ += range.page_bytes();
  to_zero = pool.scope(page) != -1 && pool.scope(page) != scope;
  pool.set_scope(page, scope);
}

template <typename Change>
void DevicePages::change(int group, PageId page, const Change& change) {
  auto& [pool, range] = memory_[group];
  const bool used_before = is_used(pool.page_class(page));
  change(pool);
  const PageClass after = pool.page_class(page);
  if (used_before && !is_used(after)) used_bytes_ -= range.page_bytes();
  if (!used_before && is_used(after)) used_bytes_ += range.page_bytes();
  if (after == PageClass::free) range.unuse(page);
}

void DevicePages::retain(int group, PageId page) {
  change(group, page, [&](PagePool& pool) { pool.retain(page); });
}
void DevicePages::release(int group, PageId page) {
  change(group, page, [&](PagePool& pool) { pool.release(page); });
}
void DevicePages::index(int group, PageId page, NodeId node) {
  change(group, page, [&](PagePool& pool) { pool.index(page, node); });
}
void DevicePages::unindex(int group, PageId page) {
  change(group, page, [&](PagePool& pool) { pool.unindex(page); });
}
void DevicePages::begin_flight(int group, PageId page) {
  change(group, page, [&](PagePool& pool) { pool.begin_flight(page); });
}
void DevicePages::end_flight(int group, PageId page) {
  change(group, page, [&](PagePool& pool) { pool.end_flight(page); });
}

uint64_t DevicePages::bytes_in_class(PageClass page_class) const {
  uint64_t bytes = 0;
  for (const GroupMemory& group : memory_) {
    bytes += static_cast<uint64_t>(group.pool.num_in_class(page_class)) * group.range.page_bytes();
  }
  return bytes;
}

uint64_t DevicePages::excess_bytes() const {
  const uint64_t own = mapped_bytes_ > budget_bytes_ ? mapped_bytes_ - budget_bytes_ : 0;
  return std::max(own, std::min(mapped_bytes_, shared_budget_->excess()));
}

uint64_t DevicePages::idle_bytes() const {
  uint64_t granules = 0;
  for (const GroupMemory& group : memory_) granules += group.range.num_idle_granules();
  return granules * granule_bytes_;
}

uint64_t DevicePages::give_back_idle(uint64_t num_bytes) {
  uint64_t given_back = 0;
  while (given_back < num_bytes && give_back_granule(-1, kNoPage)) given_back += granule_bytes_;
  return given_back;
}

void DevicePages::check_invariants() const {
  uint64_t used = 0, mapped = 0;
  for (const GroupMemory& group : memory_) {
    group.pool.check_invariants();
    group.range.check_invariants();
    used += static_cast<uint64_t>(group.pool.num_in_class(PageClass::private_) +
                                  group.pool.num_in_class(PageClass::pinned)) *
            group.range.page_bytes();
    mapped += group.range.mapped_bytes();
    // The accounting identity: what is mapped is in use or free, page by page.
    int num_busy = 0;
    for (PageClass c :
         {PageClass::private_, PageClass::pinned, PageClass::cached, PageClass::deferred})
      num_busy += group.pool.num_in_class(c);
    const uint64_t pages_bytes = static_cast<uint64_t>(num_busy + group.range.num_free_mapped()) *
                                 group.range.page_bytes();
    KVI_CHECK(pages_bytes <= group.range.mapped_bytes());
  }
  KVI_CHECK(used == used_bytes_ && mapped == mapped_bytes_);
}

}  // namespace kvi
