#include "engine/transfer_worker.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <system_error>

#include "base/error.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr size_t kMostAtOnce = 32;

MoveOutcome outcome_of(bool done) {
  return done ? MoveOutcome::made : MoveOutcome::refused_by_store;
}

}  // namespace

TransferWorker::TransferWorker(Backend& backend, std::vector<GroupPages> groups,
                               std::vector<std::shared_ptr<TierStore>> stores, Completed completed)
    : backend_(backend),
      groups_(std::move(groups)),
      stores_(std::move(stores)),
      completed_(std::move(completed)) {
  if (!backend_.info().pages_are_host_memory) {
    uint64_t most = 0;
    for (const GroupPages& group : groups_) most = std::max(most, group.page_bytes);
    staging_ = backend_.reserve_host_pages(most);
    if (!staging_->commit(0, most)) {
      throw Error(Status::OUT_OF_MEMORY, "the system has no memory for a page in transfer")
          .amounts(most, 0);
    }
  }
  try {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "kvi-transfer");
  } catch (const std::system_error& error) {
    throw Error(Status::OUT_OF_MEMORY, concat("cannot start the transfer thread: ", error.what()));
  }
}

TransferWorker::~TransferWorker() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    pushed_.notify_all();
  }
  thread_.join();
}

void TransferWorker::push(std::list<PageMove> moves) {
  std::lock_guard lock(mutex_);
  moves_.splice(moves_.end(), moves);
  pushed_.notify_all();
}

void TransferWorker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    pushed_.wait(lock, [&] { return stopping_ || !moves_.empty(); });
    if (stopping_) return;
    // Where the device copies by itself, several at once keep it busy.
    const size_t count = staging_ ? std::min(moves_.size(), kMostAtOnce) : 1;
    std::list<PageMove> taken;
    taken.splice(taken.end(), moves_, moves_.begin(),
                 std::next(moves_.begin(), static_cast<std::ptrdiff_t>(count)));
    lock.unlock();
    std::array<MoveOutcome, kMostAtOnce> outcomes = {};
    const auto start = std::chrono::steady_clock::now();
    make_all(taken, outcomes);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    size_t i = 0;
    for (const PageMove& move : taken) {
      try {
        completed_(move, outcomes[i++], took.count() / static_cast<double>(count));
      } catch (...) {
        // No memory, or a bug: the pages stay in flight, out of use. The host's process goes on.
      }
    }
    lock.lock();
  }
}

// Pages and slots of different moves are different ones, so any order will do.
void TransferWorker::make_all(const std::list<PageMove>& moves, std::span<MoveOutcome> outcomes) {
  std::array<PageTransfer, kMostAtOnce> transfers;
  std::array<bool, kMostAtOnce> is_direct = {};
  size_t num_transfers = 0, i = 0;
  for (const PageMove& move : moves) {
    std::byte* host = nullptr;
    const std::span<std::byte> page = page_of(move);
    TierStore& store = *stores_[static_cast<size_t>(move.tier) - 1];
    if (staging_ && move.kind == MoveKind::store) {
      host = store.begin_write(move.slot, move.record, page.size());
    } else if (staging_ && move.kind == MoveKind::load) {
      host = store.locate(move.slot, move.record, page.size());
    }
    is_direct[i] = host != nullptr;
    if (host != nullptr) {
      transfers[num_transfers++] = {page.data(), host, page.size(), move.kind == MoveKind::store};
    } else {
      outcomes[i] = make(move);
    }
    ++i;
  }
  if (num_transfers == 0) return;
  bool done = true;
  try {
    backend_.transfer(std::span(transfers).first(num_transfers));
  } catch (const std::exception&) {
    done = false;  // each a miss; where the device is lost the next step says why
  }
  i = 0;
  for (const PageMove& move : moves) {
    if (is_direct[i]) {
      outcomes[i] = done ? MoveOutcome::made : MoveOutcome::refused_by_device;
      if (move.kind == MoveKind::store) {
        stores_[static_cast<size_t>(move.tier) - 1]->end_write(move.slot, move.record, done);
      }
    }
    ++i;
  }
}

std::span<std::byte> TransferWorker::page_of(const PageMove& move) const {
  const GroupPages& group = groups_[move.group];
  if (move.kind == MoveKind::discard) return {};
  return {group.address + static_cast<uint64_t>(move.page) * group.page_bytes, group.page_bytes};
}

MoveOutcome TransferWorker::make(const PageMove& move) {
  TierStore& store = *stores_[static_cast<size_t>(move.tier) - 1];
  if (move.kind == MoveKind::discard) {
    store.discard(move.group, move.slot);
    return MoveOutcome::made;
  }
  const std::span<std::byte> page = page_of(move);
  if (staging_) return make_staged(move, page);
  return outcome_of(move.kind == MoveKind::store ? store.write(move.slot, move.record, page)
                                                 : store.read(move.slot, move.record, page));
}

MoveOutcome TransferWorker::make_staged(const PageMove& move, std::span<std::byte> page) {
  TierStore& store = *stores_[static_cast<size_t>(move.tier) - 1];
  const std::span<std::byte> staged(staging_->address(), page.size());
  try {
    if (move.kind == MoveKind::store) {
      backend_.read_page(page.data(), staged);
      return outcome_of(store.write(move.slot, move.record, staged));
    }
    if (!store.read(move.slot, move.record, staged)) return MoveOutcome::refused_by_store;
    backend_.write_page(page.data(), staged);
    return MoveOutcome::made;
  } catch (const std::exception&) {
    // A miss like any failed move. Where the device is lost the next step says why.
    return MoveOutcome::refused_by_device;
  }
}

}  // namespace kvi
