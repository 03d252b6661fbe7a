// MemoryRange on Linux: address space reserved by mmap, made usable and given back in parts.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory_range.h"
#include "base/text.h"

namespace kvi {
namespace {

// Huge pages, where the system has them: a step reads pieces all over a KV pool, and with small pages
// their address translation costs up to a quarter of attention's time.
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kMostBytes = uint64_t{1} << 62;  // more than any machine can address

class HostRange final : public MemoryRange {
 public:
  explicit HostRange(uint64_t num_bytes) : size_(num_bytes) {
    if (size_ <= kMostBytes) {
      mapped_bytes_ = (size_ + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
      mapping_ = mmap(nullptr, mapped_bytes_, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    if (mapping_ == MAP_FAILED) {
      throw Error(Status::OUT_OF_MEMORY,
                  concat("cannot reserve ", format_bytes(size_), " of address space"))
          .amounts(size_, 0);
    }
    const uint64_t past = reinterpret_cast<uintptr_t>(mapping_) % kHugePage;
    address_ = static_cast<std::byte*>(mapping_) + (past == 0 ? 0 : kHugePage - past);
    madvise(address_, mapped_bytes_ - kHugePage, MADV_HUGEPAGE);  // a hint: refusal changes nothing
  }
  ~HostRange() override { munmap(mapping_, mapped_bytes_); }
  HostRange(const HostRange&) = delete;
  HostRange& operator=(const HostRange&) = delete;

  std::byte* address() const override { return address_; }
  uint64_t size_bytes() const override { return size_; }
  uint64_t granule_bytes() const override { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

  bool commit(uint64_t offset, uint64_t num_bytes) override {
    // Whole huge pages become accessible, since only such are backed by one; what nobody touches of
    // them still takes no memory where the system has small pages only.
    const uint64_t begin = offset / kHugePage * kHugePage;
    const uint64_t end = std::min((offset + num_bytes + kHugePage - 1) / kHugePage * kHugePage,
                                  mapped_bytes_ - kHugePage);
    return begin >= end || mprotect(address_ + begin, end - begin, PROT_READ | PROT_WRITE) == 0;
  }

  void decommit(uint64_t offset, uint64_t num_bytes) override {
    const uint64_t granule = granule_bytes();
    const uint64_t begin = (offset + granule - 1) / granule * granule;
    const uint64_t end = (offset + num_bytes) / granule * granule;
    // Private anonymous memory reads as zero after MADV_DONTNEED.
    if (begin < end) madvise(address_ + begin, end - begin, MADV_DONTNEED);
  }

 private:
  uint64_t size_;
  uint64_t mapped_bytes_ = 0;
  void* mapping_ = MAP_FAILED;
  std::byte* address_;
};

}  // namespace

std::unique_ptr<MemoryRange> reserve_host_memory(uint64_t num_bytes) {
  return std::make_unique<HostRange>(num_bytes);
}

}  // namespace kvi
