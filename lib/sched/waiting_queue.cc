#include "sched/waiting_queue.h"

#include <tuple>

namespace kvi {
namespace {

constexpr int kMostPassedOver = 8;
constexpr uint64_t kNeighbours = 16;  // that far apart in arrival, a cached prefix may pass

// Smaller goes first.
auto rank(const SchedSequence& s, const FairShare& shares) {
  return std::tuple(-s.priority, s.num_preemptions == 0, shares.served(s.tenant), s.deadline_us,
                    s.arrival);
}

bool may_pass(const SchedSequence& later, const SchedSequence& first) {
  return later.priority == first.priority && later.tenant == first.tenant &&
         later.deadline_us == first.deadline_us && first.num_preemptions == 0 &&
         later.arrival > first.arrival && later.arrival - first.arrival <= kNeighbours &&
         first.num_passed_over < kMostPassedOver && later.cached_hint > first.cached_hint;
}

}  // namespace

SchedSequence* WaitingQueue::next(const FairShare& shares) const {
  SchedSequence* first = nullptr;
  for (SchedSequence* sequence : waiting_) {
    if (first == nullptr || rank(*sequence, shares) < rank(*first, shares)) first = sequence;
  }
  SchedSequence* best = first;
  for (SchedSequence* sequence : waiting_) {
    if (may_pass(*sequence, *first) && sequence->cached_hint > best->cached_hint) best = sequence;
  }
  return best;
}

void WaitingQueue::pop(SchedSequence& sequence) {
  erase(sequence);
  for (SchedSequence* other : waiting_) {
    if (may_pass(sequence, *other)) ++other->num_passed_over;
  }
}

}  // namespace kvi
