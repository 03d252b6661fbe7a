// Where memory runs out in the middle of a change: three ways to leave nothing half done.
//
// Giving back never allocates; taking makes room first (reserve_more) and then changes; what took several steps takes
// them back (Undo); and what is only a help may be left out (try_to).
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace kvi {

// Room for `count` more elements: adding them allocates nothing. Grows by a factor, as push_back does.
template <typename T>
void reserve_more(std::vector<T>& elements, size_t count) {
  const size_t needed = elements.size() + count;
  if (needed > elements.capacity()) elements.reserve(std::max(needed, 2 * elements.capacity()));
}

// Does what nobody misses much. False: there was no memory for it. Requires: body leaves nothing half done.
template <typename Body>
bool try_to(const Body& body) {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// Runs undo at the end of the scope, unless keep was called. Requires: undo throws nothing.
template <typename Body>
class Undo {
 public:
  explicit Undo(Body undo) : undo_(std::move(undo)) {}
  ~Undo() {
    if (!kept_) undo_();
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;

  void keep() { kept_ = true; }

 private:
  Body undo_;
  bool kept_ = false;
};

}  // namespace kvi
