// Decides which sequences compute how many tokens in the next step.
//
// Continuous batching under a token budget: decoding sequences first, one token each; then prefill, in
// chunks: what ends within a fair share of the step, then the rest in order of arrival. Where pages give out, the
// least urgent running request is preempted: it goes back to the queue, and its pages stay cached, or are kept in
// host memory where that is cheaper than computing them again. It handles ids and counts only, and never waits.
//
// Not thread-safe: the engine's core guards it.
#pragma once

#include <functional>
#include <vector>

#include "cache/cache_manager.h"
#include "sched/fair_share.h"
#include "sched/sched_sequence.h"
#include "sched/waiting_queue.h"

namespace kvi {

struct SchedulerLimits {
  int max_batch_tokens = 0;
  int max_sequences = 0;
  int max_queued = 0;
};

// Measured, to weigh computing again against swapping. 0: not known.
struct SchedulerRates {
  double prefill_tokens_per_second = 0;
  double host_bytes_per_second = 0;
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
  bool is_loading = false;  // somebody waits for pages from a lower tier
};

struct SchedulerStats {
  uint64_t preemptions_swapped = 0, preemptions_recomputed = 0;
};

class Scheduler {
 public:
  // reclaim: gives up pages of somebody who does not need them now; false: there is nobody.
  using Reclaim = std::function<bool()>;
  Scheduler(CacheManager& cache, SchedulerLimits limits, Reclaim reclaim = nullptr)
      : cache_(cache), limits_(limits), reclaim_(std::move(reclaim)) {}

  // False: as many wait as may (max_queued), beside those for whom there is a place.
  bool enqueue(SchedSequence& sequence);
  void remove(SchedSequence& sequence);  // it has ended, waiting or running
  const Step& schedule();                // valid until the next call, which reuses its memory
  // The one that is being made: where schedule throws, its copies are to be made and finished all the same.
  const Step& step() const { return step_; }
  // One that waits, or else the least urgent running request, gives up its pages, where any has some. Between schedule
  // and commit: never.
  bool preempt_one();
  void set_rates(const SchedulerRates& rates) { rates_ = rates; }

  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return waiting_.size(); }
  const SchedulerStats& stats() const { return stats_; }

 private:
  static constexpr double kFirstMeanGenerated = 256;

  enum class Retry : uint8_t { no, yes };
  bool plan(Retry retry);  // false: to be tried again
  bool reserve(SchedSequence& sequence, int num_tokens);
  bool preempt_for(SchedSequence& sequence);
  static bool is_less_urgent(const SchedSequence& one, const SchedSequence& other);
  SchedSequence* least_urgent(const SchedSequence* but) const;
  void take_out(SchedSequence& sequence);  // of the step
  void note_without_pages(const SchedSequence& sequence);
  bool awaits_moves() const;
  void preempt(SchedSequence& victim);
  bool tidy(SchedSequence& sequence);
  bool start_anew(SchedSequence& sequence);
  bool swaps(const SchedSequence& victim) const;
  bool fits_alone(const SchedSequence& sequence) const;
  int expected_len(const SchedSequence& sequence) const;
  bool may_pass_expectation(const SchedSequence& sequence) const;
  uint64_t bytes_to_end(const SchedSequence& sequence) const;
  void look_up(SchedSequence& sequence);
  void admit();
  bool reclaim_pages(const SchedSequence& wanting);
  bool reclaim_from_waiting(const SchedSequence* but);
  uint64_t watermark_bytes() const;
  bool has_room_for(SchedSequence& sequence, uint64_t promised);

  CacheManager& cache_;
  const SchedulerLimits limits_;
  const Reclaim reclaim_;
  SchedulerRates rates_;
  SchedulerStats stats_;
  FairShare shares_;
  WaitingQueue waiting_;
  std::vector<SchedSequence*> running_;  // in order of arrival in here
  std::vector<SchedSequence*> visited_;  // of schedule, kept so that steps need not allocate
  uint64_t num_arrived_ = 0, num_steps_ = 0;
  double mean_generated_ = kFirstMeanGenerated;   // tokens, of requests that ended lately
  bool may_pass_ = false;                         // somebody who runs may pass expectation
  int tokens_left_ = 0;                           // of the step
  const SchedSequence* without_pages_ = nullptr;  // of the step: the most urgent that lacks them
  Step step_;
};

}  // namespace kvi
