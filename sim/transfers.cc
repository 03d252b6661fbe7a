#include "sim/transfers.h"

#include <algorithm>
#include <cstring>

namespace kvi::sim {
namespace {

constexpr int kReach = 8;  // moves that may overtake each other

}  // namespace

void Transfers::dispatch() {
  for (PageMove& move : cache_.prefixes().take_moves(SIZE_MAX)) {
    trace_.add('m', {static_cast<int64_t>(move.id), static_cast<int64_t>(move.kind),
                     static_cast<int64_t>(move.tier), move.group, move.page, move.slot});
    waiting_.push_back(std::move(move));
  }
}

bool Transfers::must_wait(size_t index) const {
  const PageMove& move = waiting_[index];
  return std::any_of(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(index),
                     [&](const PageMove& earlier) {
                       return earlier.tier == move.tier && earlier.group == move.group &&
                              earlier.slot == move.slot;
                     });
}

void Transfers::work(int count, Draws& draws) {
  for (; count > 0 && num_moves() > 0; --count) {
    const bool reports = waiting_.empty() || (!made_.empty() && draws.one_in(2));
    if (reports) {
      const int chosen = draws.below(static_cast<int>(std::min<size_t>(made_.size(), kReach)));
      const Made made = made_[chosen];
      made_.erase(made_.begin() + chosen);
      trace_.add('c', {static_cast<int64_t>(made.id), made.ok});
      num_failed += !made.ok;
      cache_.prefixes().complete(made.id, made.ok);
      continue;
    }
    size_t chosen = static_cast<size_t>(
        draws.below(static_cast<int>(std::min<size_t>(waiting_.size(), kReach))));
    while (!reorders_slots && must_wait(chosen)) --chosen;  // the first need not
    const PageMove move = std::move(waiting_[chosen]);
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(chosen));
    const bool ok = make(move);
    made_.push_back({move.id, ok});
  }
}

bool Transfers::make(const PageMove& given) {
  PageMove move = given;
  move.record.tokens = move.tokens;
  TierStore& store = *stores_[static_cast<size_t>(move.tier) - 1];
  if (move.kind == MoveKind::discard) {
    store.discard(move.group, move.slot);
    return true;
  }
  const uint64_t page_bytes = cache_.groups()[move.group].layout.page_bytes;
  const std::span<std::byte> page(
      cache_.pages(move.group) + static_cast<uint64_t>(move.page) * page_bytes, page_bytes);
  bool ok = true;
  if (num_to_fail > 0) {
    --num_to_fail;
    ok = false;
  }
  if (move.kind == MoveKind::store) return ok && store.write(move.slot, move.record, page);
  ok = ok && store.read(move.slot, move.record, page);
  // What a failed read leaves is anything.
  if (!ok) std::memset(page.data(), 0x55, page.size());
  return ok;
}

bool Transfers::write_to_disk(Draws& draws) {
  std::vector<size_t> writes;
  for (size_t i = 0; i < waiting_.size(); ++i) {
    if (waiting_[i].kind == MoveKind::store && waiting_[i].tier == TierId::disk)
      writes.push_back(i);
  }
  if (writes.empty()) return false;
  make(waiting_[writes[static_cast<size_t>(draws.below(static_cast<int>(writes.size())))]]);
  return true;
}

}  // namespace kvi::sim
