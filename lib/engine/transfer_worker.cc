#include "engine/transfer_worker.h"

#include <pthread.h>

#include <chrono>
#include <system_error>

#include "base/error.h"
#include "base/text.h"

namespace kvi {

TransferWorker::TransferWorker(std::vector<GroupPages> groups,
                               std::vector<std::shared_ptr<TierStore>> stores, Completed completed)
    : groups_(std::move(groups)), stores_(std::move(stores)), completed_(std::move(completed)) {
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
    std::list<PageMove> taken;
    taken.splice(taken.end(), moves_, moves_.begin());
    const PageMove& move = taken.front();
    lock.unlock();
    const auto start = std::chrono::steady_clock::now();
    const bool ok = make(move);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    try {
      completed_(move, ok, took.count());
    } catch (...) {
      // No memory, or a bug: the pages stay in flight, out of use. The host's process goes on.
    }
    lock.lock();
  }
}

bool TransferWorker::make(const PageMove& move) {
  TierStore& store = *stores_[static_cast<size_t>(move.tier) - 1];
  if (move.kind == MoveKind::discard) {
    store.discard(move.group, move.slot);
    return true;
  }
  const GroupPages& group = groups_[move.group];
  const std::span<std::byte> page(
      group.address + static_cast<uint64_t>(move.page) * group.page_bytes, group.page_bytes);
  return move.kind == MoveKind::store ? store.write(move.slot, move.record, page)
                                      : store.read(move.slot, move.record, page);
}

}  // namespace kvi
