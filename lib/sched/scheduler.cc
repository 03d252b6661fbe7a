#include "sched/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace kvi {

bool Scheduler::enqueue(SchedSequence& sequence) {
  if (num_waiting() >= limits_.max_queued) return false;
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
  SchedSequence* youngest_stalled = nullptr;
  for (bool decoding : {true, false}) {
    for (SchedSequence* sequence : running_) {
      const int pending = sequence->num_pending();
      KVI_CHECK(pending > 0);
      if ((pending == 1) != decoding || tokens_left == 0) continue;
      const int num_tokens = std::min(pending, tokens_left);
      if (schedule_item(*sequence, num_tokens, step)) {
        tokens_left -= num_tokens;
      } else {
        youngest_stalled = sequence;
      }
    }
  }
  if (youngest_stalled == nullptr) admit(tokens_left, step);
  if (step.items.empty())
    step.exhausted = youngest_stalled != nullptr ? youngest_stalled : step.exhausted;
  return step;
}

// A request starts when the pages of its whole prompt are free beside what the running prefills will still
// take, so that they do not starve each other halfway. One that does not fit while nobody runs would wait
// for ever.
void Scheduler::admit(int& tokens_left, Step& step) {
  uint64_t promised = 0;
  for (const SchedSequence* sequence : running_) promised += bytes_to_finish_prefill(*sequence);
  while (tokens_left > 0 && !waiting_.empty() && num_running() < limits_.max_sequences) {
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
    const int num_tokens = std::min(sequence.num_pending(), tokens_left);
    if (!schedule_item(sequence, num_tokens, step)) return;  // the system refuses memory
    promised += bytes_to_finish_prefill(sequence);
    tokens_left -= num_tokens;
  }
}

}  // namespace kvi
