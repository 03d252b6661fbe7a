// One page's way between the device and a lower tier: planned by the cache, made by the engine's transfer worker.
#pragma once

#include <cstdint>
#include <vector>

#include "base/token_id.h"
#include "cache/page_pool.h"
#include "cache/tier_id.h"
#include "cache/tier_store.h"

namespace kvi {

// From the device, to it, or none: what the slot held is not wanted any more.
enum class MoveKind : uint8_t { store, load, discard };

struct PageMove {
  uint64_t id = 0;
  MoveKind kind = MoveKind::store;
  TierId tier = TierId::host;
  int group = 0;
  PageId page = kNoPage;  // in flight until the move is completed
  SlotId slot = -1;       // likewise
  NodeId node = kNoNode;
  PageRecord record;            // what the slot shall hold, or must hold
  std::vector<TokenId> tokens;  // what record.tokens points to
};

}  // namespace kvi
