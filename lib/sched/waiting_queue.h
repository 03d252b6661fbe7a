// Requests that have no place yet, and which of them is next.
//
// Higher priority first; then what was preempted; then the tenant that was served least; then the nearest deadline;
// then arrival. Among neighbours of one tenant, those with more of their prompt cached may pass, but each request
// is passed over only so many times.
//
// Not thread-safe: owned by the Scheduler.
#pragma once

#include <vector>

#include "base/short_memory.h"
#include "sched/fair_share.h"
#include "sched/sched_sequence.h"

namespace kvi {

class WaitingQueue {
 public:
  void push(SchedSequence& sequence) { waiting_.push_back(&sequence); }
  void reserve(size_t count) {  // so that pushing allocates nothing
    if (count > waiting_.capacity()) reserve_more(waiting_, count - waiting_.size());
  }
  bool erase(SchedSequence& sequence) { return std::erase(waiting_, &sequence) > 0; }
  SchedSequence* next(const FairShare& shares) const;  // nullptr: nobody waits
  // Takes the next one out, and counts whom it passed.
  void pop(SchedSequence& sequence);

  int size() const { return static_cast<int>(waiting_.size()); }
  bool empty() const { return waiting_.empty(); }
  const std::vector<SchedSequence*>& all() const { return waiting_; }

 private:
  std::vector<SchedSequence*> waiting_;
};

}  // namespace kvi
