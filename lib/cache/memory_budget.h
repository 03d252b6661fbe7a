// How many bytes of a device's memory the KV pages of one or several engines may take together.
//
// Memory is leased from it in granules and given back. A member that is refused asks the others to give back
// what they only cache; they do so between their steps. The limit may change at any time: lowering it takes
// nothing away, but members that hold too much learn of it by excess().
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

namespace kvi {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_(limit_bytes) {}

  bool lease(uint64_t num_bytes);  // false: not within the limit
  void give_back(uint64_t num_bytes);

  void set_limit(uint64_t limit_bytes);
  uint64_t limit() const;
  uint64_t leased() const;
  size_t num_members() const;
  uint64_t excess() const;  // leased above the limit

  // called: somebody is short of memory, or the limit fell; on any thread, with this object's lock held, so it
  // only takes note. Returns the id to remove it by.
  int add_member(std::function<void()> called);
  void remove_member(int id);
  // Tells all members but this one that memory is wanted.
  void call_for_memory(int member);

 private:
  mutable std::mutex mutex_;
  uint64_t limit_;
  uint64_t leased_ = 0;
  int next_member_ = 0;
  std::map<int, std::function<void()>> members_;
};

}  // namespace kvi
