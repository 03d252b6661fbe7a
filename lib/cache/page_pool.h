// What is known of each KV page of one layer group: its state, its holders, and what it is part of.
//
// A page is FREE, then RESERVED for a sequence or a load, WRITING while K and V go into it, and COMMITTED when
// all of its slots that count are written. A committed page that is indexed or has several holders is immutable.
// The generation changes whenever a page becomes free, so that a late completion knows it by that.
//
// Every page is in one class: free; private (held, not indexed); pinned (indexed and held); cached (indexed only);
// deferred (held by nobody, indexed or not, and an operation in flight still touches it).
//
// The pool deals in page ids only; the bytes belong to a PageRange. So this file builds and is tested without a
// device. Not thread-safe: owned by DevicePages.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/id_set.h"
#include "tensor/layout.h"

namespace kvi {

using NodeId = int32_t;  // of the prefix tree
constexpr NodeId kNoNode = -1;

enum class PageState : uint8_t { free, reserved, writing, committed, failed };
enum class PageClass : uint8_t { free, private_, pinned, cached, deferred };
constexpr int kNumPageClasses = 5;

class PagePool {
 public:
  explicit PagePool(int num_pages) : num_pages_(num_pages) {}

  // Makes a free page the caller's: RESERVED, one holder. Alone in here, it may allocate, before it changes anything.
  void take(PageId page);
  PageId lowest_free() const;  // kNoPage: none is left

  void retain(PageId page);   // requires: page is not free
  void release(PageId page);  // requires: page is held; it becomes free unless indexed or in flight
  void index(PageId page, NodeId node);  // requires: held or in flight, and not indexed
  void unindex(PageId page);
  // An operation that runs outside the core reads or writes the page until end_flight.
  void begin_flight(PageId page);
  void end_flight(PageId page);
  void set_state(PageId page, PageState state);
  void set_scope(PageId page, int scope) { pages_[page].scope = scope; }

  PageState state(PageId page) const { return info(page).state; }
  PageClass page_class(PageId page) const { return class_of(info(page)); }
  int num_holders(PageId page) const { return info(page).num_holders; }
  bool is_in_flight(PageId page) const { return info(page).num_flights > 0; }
  NodeId node(PageId page) const { return info(page).node; }
  uint32_t generation(PageId page) const { return info(page).generation; }
  // Whose tokens it last held; -1: nobody's since its memory was mapped.
  int scope(PageId page) const { return info(page).scope; }

  int num_pages() const { return num_pages_; }
  int num_in_class(PageClass page_class) const { return counts_[static_cast<int>(page_class)]; }

  void check_invariants() const;

 private:
  struct Info {
    int num_holders = 0;
    int num_flights = 0;
    NodeId node = kNoNode;
    int scope = -1;
    uint32_t generation = 0;
    PageState state = PageState::free;
  };
  static PageClass class_of(const Info& info);
  const Info& info(PageId page) const;
  // Applies the change and moves the page between classes.
  template <typename Change>
  void change(PageId page, const Change& change);

  const int num_pages_;
  std::vector<Info> pages_;                       // up to the highest ever used
  IdSet freed_;                                   // below pages_.size()
  std::array<int, kNumPageClasses> counts_ = {};  // free: those below pages_.size()
};

}  // namespace kvi
