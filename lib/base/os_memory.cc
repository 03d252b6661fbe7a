#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory_range.h"
#include "base/text.h"

namespace kvi {
namespace {

class HostRange final : public MemoryRange {
 public:
  explicit HostRange(uint64_t num_bytes) : size_(num_bytes) {
    void* address = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
      throw Error(Status::OUT_OF_MEMORY,
                  concat("cannot reserve ", format_bytes(size_), " of address space"))
          .amounts(size_, 0);
    }
    address_ = static_cast<std::byte*>(address);
  }
  ~HostRange() override { munmap(address_, size_); }
  HostRange(const HostRange&) = delete;
  HostRange& operator=(const HostRange&) = delete;

  std::byte* address() const override { return address_; }
  uint64_t size_bytes() const override { return size_; }
  uint64_t granule_bytes() const override { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

  bool commit(uint64_t offset, uint64_t num_bytes) override {
    const uint64_t granule = granule_bytes();
    const uint64_t begin = offset / granule * granule;
    const uint64_t end = std::min((offset + num_bytes + granule - 1) / granule * granule, size_);
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
  std::byte* address_;
};

}  // namespace

std::unique_ptr<MemoryRange> reserve_host_memory(uint64_t num_bytes) {
  return std::make_unique<HostRange>(num_bytes);
}

}  // namespace kvi
