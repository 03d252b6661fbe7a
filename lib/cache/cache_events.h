// What lately came into the prefix index and left it, for a router or an index outside the process.
//
// A ring of bounded size: whoever reads too seldom learns how many were lost.
//
// Not thread-safe: owned by PrefixCache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>

#include "base/sha256.h"
#include "base/short_memory.h"
#include "cache/tier_id.h"

namespace kvi {

enum class CacheEventKind : uint8_t { stored, removed };

struct CacheEvent {
  uint64_t number = 0;  // counts up from 1
  CacheEventKind kind = CacheEventKind::stored;
  TierId tier = TierId::device;
  int num_tokens = 0;  // of the whole prefix, this page included
  Digest key = {}, parent = {};
};

class CacheEvents {
 public:
  explicit CacheEvents(size_t capacity) : capacity_(capacity) {}

  bool is_on() const { return capacity_ > 0; }
  void add(CacheEvent event) {
    event.number = ++last_number_;
    if (events_.size() == capacity_) events_.pop_front();
    try_to([&] { events_.push_back(event); });  // else it is lost, as its number tells
  }
  // Takes the oldest ones out; their numbers tell what was lost before.
  size_t take(std::span<CacheEvent> out) {
    const size_t count = std::min(out.size(), events_.size());
    std::copy_n(events_.begin(), count, out.begin());
    events_.erase(events_.begin(), events_.begin() + static_cast<ptrdiff_t>(count));
    return count;
  }
  size_t size() const { return events_.size(); }

 private:
  const size_t capacity_;
  std::deque<CacheEvent> events_;
  uint64_t last_number_ = 0;
};

}  // namespace kvi
