// Decides which sequences compute how many tokens in the next step.
//
// Continuous batching under a token budget: decoding sequences first, one token each; then prefill, in
// chunks: what ends within a fair share of the step, then the rest in order of arrival. It handles ids
// and counts only, and never waits.
//
// Not thread-safe: the engine's core guards it.
#pragma once

#include <deque>
#include <vector>

#include "cache/cache_manager.h"

namespace kvi {

// What the scheduler knows of one request: its pages, and how many tokens it wants computed in all.
struct SchedSequence {
  SequencePages* pages = nullptr;
  int num_known = 0;  // tokens; those from pages->num_tokens on are to be computed

  int num_pending() const { return num_known - pages->num_tokens; }
};

struct SchedulerLimits {
  int max_batch_tokens = 0;
  int max_sequences = 0;
  int max_queued = 0;
};

struct StepItem {
  SchedSequence* sequence;
  int num_tokens;  // the next uncomputed ones
};

struct Step {
  std::vector<StepItem> items;   // pages for them are reserved
  std::vector<PageCopy> copies;  // to be done before the step computes
  // Set when nothing can go on within the page budget: this one must end to let the others continue.
  SchedSequence* exhausted = nullptr;
};

class Scheduler {
 public:
  Scheduler(CacheManager& cache, SchedulerLimits limits) : cache_(cache), limits_(limits) {}

  // False: as many wait as may (max_queued), beside those for whom there is a place.
  bool enqueue(SchedSequence& sequence);
  void remove(SchedSequence& sequence);  // it has ended, waiting or running
  const Step& schedule();                // valid until the next call, which reuses its memory

  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }

 private:
  bool schedule_item(SchedSequence& sequence, int num_tokens, Step& step);
  uint64_t bytes_to_finish_prefill(const SchedSequence& sequence) const;
  void admit(Step& step);

  CacheManager& cache_;
  const SchedulerLimits limits_;
  std::vector<SchedSequence*> running_;  // in order of arrival
  std::deque<SchedSequence*> waiting_;
  Step step_;
};

}  // namespace kvi
