// Which cached page goes next.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace kvi {

using EntryId = int32_t;  // dense and small: an index of the prefix tree, reused after erase
constexpr EntryId kNoEntry = -1;

struct EvictionEntry {
  uint64_t key = 0;     // 64 bits of the prefix's digest: names the same content again after it was evicted
  int first_token = 0;  // position of its first token
  uint64_t bytes = 0;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(EntryId id, const EvictionEntry& entry) = 0;  // new, busy: its maker uses it
  virtual void hit(EntryId id) = 0;  // a later request found it (idle or busy)
  virtual void set_idle(EntryId id) = 0;
  virtual void set_busy(EntryId id) = 0;
  virtual void erase(EntryId id) = 0;
  virtual EntryId victim() = 0;
};

std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name);

}  // namespace kvi
