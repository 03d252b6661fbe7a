#include "sched/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

bool Scheduler::enqueue(SchedSequence& sequence) {
  // Whoever takes a free place does not wait.
  const int num_free = limits_.max_sequences - num_running();
  if (num_waiting() >= limits_.max_queued + num_free) return false;
  waiting_.push_back(&sequence);
  return true;
}

void Scheduler::remove(SchedSequence& sequence) {
  std::erase(running_, &sequence);
  std::erase(waiting_, &sequence);
}

bool Scheduler::schedule_item(SchedSequence& sequence, int num_tokens, Step& step) {
  if (!cache_.reserve(*sequence.pages, num_tokens, step.copies)) return false;
  step.items.push_back({&sequence, num_tokens});
  return true;
}

uint64_t Scheduler::bytes_to_finish_prefill(const SchedSequence& sequence) const {
  return cache_.bytes_to_reach(*sequence.pages, sequence.num_known, limits_.max_batch_tokens);
}

const Step& Scheduler::schedule() {
  Step& step = step_;
  step.items.clear();
  step.copies.clear();
  step.exhausted = nullptr;
  int tokens_left = limits_.max_batch_tokens;
  SchedSequence* stalled = nullptr;  // the last one found without pages
  const auto schedule = [&](SchedSequence& sequence) {
    if (tokens_left == 0) return;
    const int num_tokens = std::min(sequence.num_pending(), tokens_left);
    if (schedule_item(sequence, num_tokens, step)) {
      tokens_left -= num_tokens;
    } else {
      stalled = &sequence;
    }
  };

  const size_t num_older = running_.size();
  for (SchedSequence* sequence : running_) {
    KVI_CHECK(sequence->num_pending() > 0);
    if (sequence->num_pending() == 1) schedule(*sequence);
  }
  if (stalled == nullptr && tokens_left > 0) admit(step);

  // Prefill, in order of arrival; but first what ends within a fair share of the step, so that a short
  // prompt need not wait for the end of a long one. The others keep a share of their own.
  const auto prefills = [&](size_t i) { return i >= num_older || running_[i]->num_pending() > 1; };
  int num_prefills = 0;
  for (size_t i = 0; i < running_.size(); ++i) num_prefills += prefills(i);
  const int share = num_prefills == 0 ? 0 : tokens_left / num_prefills;
  for (bool short_ones : {true, false}) {
    for (size_t i = 0; i < running_.size(); ++i) {
      const bool is_short = running_[i]->num_pending() <= share;
      if (prefills(i) && is_short == short_ones) schedule(*running_[i]);
    }
  }
  if (step.items.empty() && stalled != nullptr) step.exhausted = stalled;
  return step;
}

// A request starts when the pages of its whole prompt are free beside what the running prefills will still
// take, so that they do not starve each other halfway. One that does not fit while nobody runs would wait
// for ever.
void Scheduler::admit(Step& step) {
  uint64_t promised = 0;
  for (const SchedSequence* sequence : running_) promised += bytes_to_finish_prefill(*sequence);
  while (!waiting_.empty() && num_running() < limits_.max_sequences) {
    SchedSequence& sequence = *waiting_.front();
    const uint64_t needed = running_.empty()
                                ? cache_.bytes_to_reach_alone(*sequence.pages, sequence.num_known,
                                                              limits_.max_batch_tokens)
                                : bytes_to_finish_prefill(sequence);
    if (promised + needed > cache_.budget_bytes() - cache_.used_bytes()) {
      if (running_.empty()) step.exhausted = &sequence;
      return;
    }
    waiting_.pop_front();
    running_.push_back(&sequence);
    promised += bytes_to_finish_prefill(sequence);  // beside others its steps are cut elsewhere
  }
}

}  // namespace kvi
