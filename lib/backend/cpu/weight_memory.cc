#include "backend/cpu/weight_memory.h"

#include <sys/mman.h>

#include "base/error.h"
#include "base/memory_range.h"
#include "base/text.h"

namespace kvi::cpu {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kSharedBytes = uint64_t{32} << 20;  // reserved; memory is taken as it is written
constexpr uint64_t kOwnBytes = uint64_t{8} << 20;      // a matrix of this size has its own mapping

std::shared_ptr<std::byte> map(uint64_t num_bytes) {
  std::shared_ptr<MemoryRange> range = reserve_host_memory(num_bytes + kHugePage);
  const uint64_t start = reinterpret_cast<uintptr_t>(range->address()) % kHugePage;
  const uint64_t offset = start == 0 ? 0 : kHugePage - start;
  if (!range->commit(offset, num_bytes)) {
    throw Error(Status::OUT_OF_MEMORY, concat("no memory for ", format_bytes(num_bytes),
                                              " of weights; free some, or use a smaller model"))
        .amounts(num_bytes, 0);
  }
  std::byte* memory = range->address() + offset;
  madvise(memory, num_bytes, MADV_HUGEPAGE);  // a hint: refusal changes nothing
  return {std::move(range), memory};
}

}  // namespace

std::shared_ptr<std::byte> WeightMemory::allocate(uint64_t num_bytes) {
  if (num_bytes >= kOwnBytes) return map(num_bytes);
  num_bytes = (num_bytes + 63) / 64 * 64;
  std::lock_guard lock(mutex_);
  if (num_bytes > free_bytes_) {
    free_ = map(kSharedBytes);
    free_bytes_ = kSharedBytes;
  }
  std::shared_ptr<std::byte> memory = free_;
  free_ = {free_, free_.get() + num_bytes};
  free_bytes_ -= num_bytes;
  return memory;
}

}  // namespace kvi::cpu
