// Which cached page goes next: the interface of the eviction policies, which are chosen by name.
//
// A policy orders entries; it owns no page and knows no tree. The caller evicts leaf first: where the victim
// still has cached children, it evicts a leaf below it instead, so a policy names inner pages only rarely.
//
// Not thread-safe: owned by the prefix tree.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace kvi {

using EntryId = int32_t;  // dense and small: an index of the prefix tree, reused after erase
constexpr EntryId kNoEntry = -1;

// One page of a prefix.
struct EvictionEntry {
  uint64_t
      key;  // 64 bits of the prefix's digest: names the same content again after it was evicted
  int first_token;  // position of its first token
  uint64_t bytes;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  // New, busy: its maker uses it. Alone in here, it may allocate, before it changes anything.
  virtual void insert(EntryId id, const EvictionEntry& entry) = 0;
  virtual void hit(EntryId id) = 0;  // a later request found it, idle or busy
  // Nobody uses it: it may be evicted. The entries of one path become idle deepest first, one after the other.
  virtual void set_idle(EntryId id) = 0;
  virtual void set_busy(EntryId id) = 0;  // requires: idle
  virtual void erase(EntryId id) = 0;     // evicted or dropped, idle or busy
  // The idle entry to evict next, or kNoEntry where none is idle. Changes nothing: the caller erases it.
  virtual EntryId victim() = 0;
};

struct EvictionPolicyName {
  const char* name;
  const char* doc;  // one line, for help texts
};
std::span<const EvictionPolicyName> eviction_policies();

// Throws INVALID_ARGUMENT, which names the known ones.
std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name);

}  // namespace kvi
