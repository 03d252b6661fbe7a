// Which copy in one tier, of one group, goes next: bands first, then a policy; or the oldest of one scope.
//
// Entries are nodes of the prefix tree. Lower bands go first, whatever the policy thinks of them. Per scope there is
// a list by time of idleness, so that one that took more than its share loses its own.
//
// Not thread-safe: owned by CacheManager.
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "cache/eviction.h"
#include "cache/page_pool.h"

namespace kvi {

// loose: pages that slid out of a window and are at no boundary.
enum class Band : uint8_t { loose, low, normal, high };
constexpr int kNumBands = 4;

class Evictor {
 public:
  explicit Evictor(std::string_view policy);  // throws INVALID_ARGUMENT for an unknown name

  // A new entry, busy. This and set_band may allocate, before they change anything; the others never do.
  void insert(NodeId node, const EvictionEntry& entry, Band band, int scope);
  void erase(NodeId node);
  void hit(NodeId node);
  void set_idle(NodeId node);  // those of one path deepest first
  void set_busy(NodeId node);
  void set_band(NodeId node, Band band);

  bool has(NodeId node) const {
    return node < static_cast<NodeId>(entries_.size()) && entries_[node].present;
  }
  Band band(NodeId node) const { return entries_[node].band; }
  // The idle entry to evict next, of bands up to most; kNoNode: none is idle.
  NodeId victim(Band most = Band::high);
  NodeId victim_of_scope(int scope) const;
  int num_idle() const { return num_idle_; }

 private:
  struct Entry {
    EvictionEntry what;
    NodeId older = kNoNode, newer = kNoNode;  // idle ones of the scope
    int scope = 0;
    Band band = Band::normal;
    bool present = false, idle = false;
  };
  struct ScopeList {
    NodeId oldest = kNoNode, newest = kNoNode;
  };
  EvictionPolicy& policy_of(NodeId node) {
    return *policies_[static_cast<int>(entries_[node].band)];
  }
  void link(NodeId node);
  void unlink(NodeId node);

  std::array<std::unique_ptr<EvictionPolicy>, kNumBands> policies_;
  std::vector<Entry> entries_;     // [node]
  std::vector<ScopeList> scopes_;  // [scope]
  int num_idle_ = 0;
};

}  // namespace kvi
