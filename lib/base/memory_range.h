// A reserved range of addresses whose memory is committed and given back piece by piece.
//
// The address never changes, so pages inside it never move. Committed memory reads as zero.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kvi {

class MemoryRange {
 public:
  virtual ~MemoryRange() = default;

  virtual std::byte* address() const = 0;
  virtual uint64_t size_bytes() const = 0;  // reserved

  // commit rounds outwards, to what suits the system; decommit inwards, to granule_bytes(). Where a device fails commit
  // throws; decommit never does.
  virtual bool commit(uint64_t offset, uint64_t num_bytes) = 0;  // false: the system refused memory
  virtual void decommit(uint64_t offset, uint64_t num_bytes) = 0;
  virtual uint64_t granule_bytes() const = 0;
};

// Host memory. Throws OUT_OF_MEMORY when not even the addresses can be had.
std::unique_ptr<MemoryRange> reserve_host_memory(uint64_t num_bytes);

}  // namespace kvi
