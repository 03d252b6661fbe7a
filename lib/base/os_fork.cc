#include "base/os_fork.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace kvi {
namespace {

constexpr size_t kPageBytes = 4096;

enum : int { kUnarmed, kWipedAtFork, kComparesPid };

// Uninitialised data begins past the file's part of the library, so a whole page of it is anonymous
// memory, as MADV_WIPEONFORK wants.
struct alignas(kPageBytes) Page {
  std::atomic<int> alive;
  std::byte rest[kPageBytes - sizeof(std::atomic<int>)];
};
static_assert(sizeof(Page) == kPageBytes);

constinit Page page = {};
constinit std::atomic<int> armed{kUnarmed};

}  // namespace

bool in_forked_child() noexcept {
  switch (armed.load(std::memory_order_acquire)) {
    case kWipedAtFork: return page.alive.load(std::memory_order_relaxed) == 0;
    case kComparesPid: return page.alive.load(std::memory_order_relaxed) != getpid();
    default: break;
  }
  // Threads that come here at once all do the same.
  bool wiped = madvise(&page, sizeof page, MADV_WIPEONFORK) == 0;  // not where pages are larger
  page.alive.store(getpid(), std::memory_order_relaxed);
  armed.store(wiped ? kWipedAtFork : kComparesPid, std::memory_order_release);
  return false;
}

}  // namespace kvi
