// Settings and counters of the cache core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cache/memory_budget.h"
#include "cache/prefix_key.h"

namespace kvi {

class ForeignPages;
class TierStore;

struct CacheOptions {
  uint64_t budget_bytes = 0;  // of device pages
  uint64_t range_bytes = 0;   // the most that set_budget may give; 0: budget_bytes
  std::shared_ptr<MemoryBudget> shared_budget = {};  // nullptr: none besides budget_bytes
  bool prefix_caching = true;
  std::string eviction_policy = "cost";
  // Of the budget: a tenant whose cached pages take more loses its own first.
  double tenant_share = 0.5;
  CacheIdentity identity = {};
  std::vector<std::byte> secret = {};               // that tenants' salts are made with
  std::shared_ptr<TierStore> host = {}, disk = {};  // nullptr: no such tier
  std::string disk_missing = {};                    // why there is none, where one was asked for
  uint64_t host_bytes = 0, disk_bytes = 0;
  std::shared_ptr<ForeignPages> foreign = {};  // in the disk tier's folder; nullptr: no such tier
  size_t num_events = 0;                       // kept for who reads them; 0: none
};

struct CacheStats {
  uint64_t queried_tokens = 0;                          // of prompts that asked the index
  uint64_t hit_tokens[3] = {};                          // [tier] of these, found there
  uint64_t evicted_pages[3] = {};                       // [tier]
  uint64_t stored_bytes[3] = {}, loaded_bytes[3] = {};  // [tier], from and to the device
  uint64_t failed_moves = 0;
};

}  // namespace kvi
