#include "sched/scheduler.h"

#include <algorithm>

#include "base/error.h"
#include "base/short_memory.h"

namespace kvi {
namespace {

// Of the budget, kept free when requests are admitted beside others that may generate more than is expected, so that these
// can grow for a while before anybody has to be preempted.
constexpr uint64_t kWatermarkShare = 100;
constexpr double kMeanOver = 8;  // requests

}  // namespace

bool Scheduler::enqueue(SchedSequence& sequence) {
  // Whoever takes a free place does not wait.
  const int num_free = limits_.max_sequences - num_running();
  if (num_waiting() >= limits_.max_queued + num_free) return false;
  sequence.arrival = ++num_arrived_;
  sequence.prompt_len = sequence.num_known;
  if (sequence.tokens != nullptr && !waiting_.empty()) {
    sequence.cached_hint = cache_.prefixes()
                               .match(*sequence.pages, *sequence.tokens, sequence.first_wanted,
                                      false)
                               .num_tokens(cache_.page_len());
  }
  // So that neither steps nor preemption allocate for it.
  const size_t num_waiting_ones = static_cast<size_t>(waiting_.size()) + 1;
  reserve_more(running_, num_waiting_ones);
  visited_.reserve(running_.capacity());
  step_.items.reserve(running_.capacity());
  waiting_.reserve(running_.size() + num_waiting_ones);
  sequence.tenant = sequence.pages->scope;
  shares_.join(sequence.tenant);
  waiting_.push(sequence);
  return true;
}

void Scheduler::remove(SchedSequence& sequence) {
  sequence.is_running = false;
  if (std::erase(running_, &sequence) > 0 || waiting_.erase(sequence)) {
    shares_.leave(sequence.tenant);
  }
  const int num_generated = sequence.num_known - sequence.prompt_len;
  if (num_generated > 0) mean_generated_ += (num_generated - mean_generated_) / kMeanOver;
}

// Its prompt, and as much generated as others did lately; where it is beyond that, a page more.
int Scheduler::expected_len(const SchedSequence& sequence) const {
  const int mean_len = sequence.prompt_len + static_cast<int>(mean_generated_);
  const int len = std::max(mean_len, sequence.num_known + cache_.page_len());
  return std::max(sequence.num_known, std::min(len, sequence.max_len));
}

uint64_t Scheduler::bytes_to_end(const SchedSequence& sequence) const {
  const int chunk = std::clamp(sequence.num_pending(), 1, limits_.max_batch_tokens);
  return cache_.bytes_to_reach(*sequence.pages, expected_len(sequence), chunk);
}

bool Scheduler::fits_alone(const SchedSequence& sequence) const {
  return cache_.least_budget_for(*sequence.pages, sequence.num_known, limits_.max_batch_tokens) <=
         cache_.budget_bytes();
}

bool Scheduler::reserve(SchedSequence& sequence, int num_tokens) {
  bool is_tidy = false;
  while (!cache_.reserve(*sequence.pages, num_tokens, step_.copies)) {
    if (reclaim_pages(sequence) || preempt_for(sequence)) continue;
    if (is_tidy || !tidy(sequence)) return false;
    is_tidy = true;
  }
  sequence.step = num_steps_;
  tokens_left_ -= num_tokens;
  step_.items.push_back({&sequence, num_tokens});
  shares_.serve(sequence.tenant, num_tokens);
  return true;
}

// Preempts the least urgent running request that holds pages; where it has a part in this step already, it loses that
// too. False: all who hold pages are more urgent, and may have those of the sequence when they need them.
bool Scheduler::preempt_for(SchedSequence& sequence) {
  SchedSequence* victim = least_urgent(nullptr);
  if (victim == nullptr || victim == &sequence || is_less_urgent(sequence, *victim)) return false;
  if (victim->step == num_steps_) take_out(*victim);
  preempt(*victim);
  note_without_pages(*victim);
  return true;
}

// Where nobody else holds pages, it is what is cached, and free pages here and there on granules in use, that leave no
// room. False: nothing can be done, or nothing but to wait until its pages lie better.
bool Scheduler::tidy(SchedSequence& sequence) {
  if (least_urgent(&sequence) != nullptr || !fits_alone(sequence)) return false;
  if (cache_.held_bytes(*sequence.pages) == 0) return cache_.prefixes().trim(UINT64_MAX) > 0;
  return !cache_.compact(*sequence.pages, step_.copies) && start_anew(sequence);
}

// It holds pages that lie so that no granule for one more is left: computed again, they lie side by side. False: it has
// come no further since it did that before.
bool Scheduler::start_anew(SchedSequence& sequence) {
  if (sequence.pages->num_tokens <= sequence.started_anew_at) return false;
  sequence.started_anew_at = sequence.pages->num_tokens;
  cache_.park(*sequence.pages);
  cache_.prefixes().trim(UINT64_MAX);
  ++stats_.preemptions_recomputed;
  return true;
}

bool Scheduler::preempt_one() {
  if (reclaim_from_waiting(nullptr)) return true;
  SchedSequence* victim = least_urgent(nullptr);
  if (victim != nullptr) preempt(*victim);
  return victim != nullptr;
}

bool Scheduler::is_less_urgent(const SchedSequence& one, const SchedSequence& other) {
  return one.priority != other.priority ? one.priority < other.priority
                                        : one.arrival > other.arrival;
}

void Scheduler::note_without_pages(const SchedSequence& sequence) {
  if (without_pages_ == nullptr || is_less_urgent(*without_pages_, sequence))
    without_pages_ = &sequence;
}

// Of those that hold pages, but for one.
SchedSequence* Scheduler::least_urgent(const SchedSequence* but) const {
  SchedSequence* least = nullptr;
  for (SchedSequence* other : running_) {
    if (other == but || cache_.held_bytes(*other->pages) == 0) continue;
    if (least == nullptr || is_less_urgent(*other, *least)) least = other;
  }
  return least;
}

// The pages that were reserved for it go with the others that it holds.
void Scheduler::take_out(SchedSequence& sequence) {
  const auto item = std::find_if(step_.items.begin(), step_.items.end(),
                                 [&](const StepItem& i) { return i.sequence == &sequence; });
  if (item == step_.items.end()) return;
  tokens_left_ += item->num_tokens;
  shares_.take_back(sequence.tenant, item->num_tokens);
  step_.items.erase(item);
}

bool Scheduler::swaps(const SchedSequence& victim) const {
  if (cache_.prefixes().tier(TierId::host) == nullptr || victim.tokens == nullptr) return false;
  if (!victim.pages->loading.empty()) return false;  // what is still coming is down there already
  if (rates_.prefill_tokens_per_second <= 0 || rates_.host_bytes_per_second <= 0) return true;
  const double bytes = static_cast<double>(cache_.held_bytes(*victim.pages));
  // Out, and in again.
  return 2 * bytes / rates_.host_bytes_per_second <
         victim.pages->num_tokens / rates_.prefill_tokens_per_second;
}

void Scheduler::preempt(SchedSequence& victim) {
  bool is_swapped = false;
  if (swaps(victim)) {
    uint64_t needed;
    // Where memory is short it is computed again.
    try_to(
        [&] { is_swapped = cache_.suspend(*victim.pages, *victim.tokens, TierId::host, &needed); });
  }
  if (is_swapped) {
    ++stats_.preemptions_swapped;
  } else {
    cache_.park(*victim.pages);
    ++stats_.preemptions_recomputed;
  }
  ++victim.num_preemptions;
  victim.attached = false;
  victim.blocked_used_bytes = UINT64_MAX;
  victim.is_running = false;
  std::erase(running_, &victim);
  waiting_.push(victim);
}

void Scheduler::look_up(SchedSequence& sequence) {
  if (sequence.attached) return;
  sequence.attached = true;
  if (sequence.tokens == nullptr) return;
  // Where memory is short all of it is computed.
  try_to([&] {
    cache_.attach(*sequence.pages, *sequence.tokens, sequence.first_wanted, step_.copies);
  });
}

const Step& Scheduler::schedule() {
  // Where somebody was preempted, and still nobody could go on, it is tried again with what that has freed.
  without_pages_ = nullptr;
  step_.copies.clear();
  if (plan(Retry::yes)) return step_;
  plan(Retry::no);
  if (step_.items.empty() && step_.copies.empty() && step_.exhausted == nullptr &&
      !awaits_moves()) {
    // Who lost its pages does not find room either: the others need not wait for it.
    without_pages_ = nullptr;
    plan(Retry::no);
  }
  return step_;
}

bool Scheduler::plan(Retry retry) {
  step_.items.clear();
  step_.copies.clear();
  step_.exhausted = nullptr;
  step_.is_loading = false;
  ++num_steps_;
  tokens_left_ = limits_.max_batch_tokens;
  const uint64_t num_preempted = stats_.preemptions_swapped + stats_.preemptions_recomputed;
  SchedSequence* stalled = nullptr;  // the last one found without pages
  const auto schedule = [&](SchedSequence& sequence) {
    if (tokens_left_ == 0 || sequence.step == num_steps_) return;
    // Who is less urgent takes no pages before one that found none, or has lost its own.
    if (without_pages_ != nullptr && is_less_urgent(sequence, *without_pages_)) return;
    const int num_tokens = std::min(sequence.num_pending(), tokens_left_);
    if (reserve(sequence, num_tokens)) return;
    stalled = &sequence;
    note_without_pages(sequence);
  };
  // Preemption takes from running_ while it is gone through.
  const auto for_each_running = [&](const auto& visit) {
    visited_ = running_;
    for (SchedSequence* sequence : visited_) {
      if (sequence->is_running) visit(*sequence);
    }
  };
  const auto is_ready = [&](SchedSequence& sequence) {
    const bool ready = cache_.is_ready(*sequence.pages);
    step_.is_loading |= !ready;
    return ready;
  };

  for_each_running([&](SchedSequence& sequence) {
    KVI_CHECK(sequence.num_pending() > 0);
    if (sequence.num_pending() == 1 && is_ready(sequence)) schedule(sequence);
  });
  if (stalled == nullptr && tokens_left_ > 0) admit();

  // Prefill, in order of arrival; but first what ends within a fair share of the step, so that a short
  // prompt need not wait for the end of a long one. The others keep a share of their own.
  int num_prefills = 0;
  for_each_running([&](SchedSequence& sequence) {
    num_prefills += sequence.step != num_steps_ && is_ready(sequence);
  });
  const int share = num_prefills == 0 ? 0 : tokens_left_ / num_prefills;
  for (bool short_ones : {true, false}) {
    for_each_running([&](SchedSequence& sequence) {
      const bool is_short = sequence.num_pending() <= share;
      if (is_short == short_ones && sequence.pages->loading.empty()) schedule(sequence);
    });
  }
  const bool has_preempted = num_preempted !=
                             stats_.preemptions_swapped + stats_.preemptions_recomputed;
  if (step_.items.empty() && stalled != nullptr && !awaits_moves() && step_.copies.empty() &&
      step_.exhausted == nullptr) {
    if (has_preempted && retry == Retry::yes) return false;
    step_.exhausted = stalled;
  }
  return true;
}

// What is in flight cannot be evicted: there may be room once it has arrived.
bool Scheduler::awaits_moves() const {
  return step_.is_loading || cache_.prefixes().num_moves() > 0;
}

// Gives up pages that somebody holds who does not compute: idle sessions, then requests that wait. False: none.
bool Scheduler::reclaim_pages(const SchedSequence& wanting) {
  return (reclaim_ && reclaim_()) || reclaim_from_waiting(&wanting);
}

// One that waits may hold what its session held before.
bool Scheduler::reclaim_from_waiting(const SchedSequence* but) {
  for (SchedSequence* other : waiting_.all()) {
    if (other == but || cache_.held_bytes(*other->pages) == 0) continue;
    cache_.park(*other->pages);
    other->attached = false;
    return true;
  }
  return false;
}

// Whether the sequence can be computed beside the others, to its expected end. Looks up its prefix.
bool Scheduler::has_room_for(SchedSequence& sequence, uint64_t promised) {
  const bool is_alone = running_.empty();
  if (!is_alone && cache_.used_bytes() >= sequence.blocked_used_bytes) return false;
  const uint64_t watermark = is_alone || (!may_pass_ && !may_pass_expectation(sequence))
                                 ? 0
                                 : watermark_bytes();
  const auto fits = [&] {
    const uint64_t needed = is_alone
                                ? cache_.bytes_to_reach_alone(*sequence.pages, sequence.num_known,
                                                              limits_.max_batch_tokens)
                                : bytes_to_end(sequence);
    return cache_.used_bytes() + promised + needed + watermark <= cache_.budget_bytes();
  };
  do {
    look_up(sequence);
    if (fits()) return true;
  } while (reclaim_pages(sequence));
  // It does not wait with pages in hand that others could use.
  cache_.park(*sequence.pages);
  sequence.attached = false;
  sequence.blocked_used_bytes = cache_.used_bytes();
  if (!is_alone || !fits()) return false;
  sequence.attached = true;  // alone, and only its prefix is in its way: it computes all of it
  return true;
}

// Who generates more than others did needs more pages than were counted for it.
bool Scheduler::may_pass_expectation(const SchedSequence& sequence) const {
  return expected_len(sequence) < sequence.max_len;
}

// In whole pages of each group.
uint64_t Scheduler::watermark_bytes() const {
  uint64_t page_bytes = 0;
  for (const LayerGroup& group : cache_.groups()) page_bytes += group.layout.page_bytes;
  return cache_.budget_bytes() / kWatermarkShare / page_bytes * page_bytes;
}

// A request starts when there is room for its prompt and for what it is expected to generate beside what those that run
// will still take: who is admitted is seldom preempted. One that does not fit while nobody runs would wait for ever.
void Scheduler::admit() {
  uint64_t promised = 0;
  may_pass_ = false;
  for (const SchedSequence* sequence : running_) {
    promised += bytes_to_end(*sequence);
    may_pass_ |= may_pass_expectation(*sequence);
  }
  while (num_running() < limits_.max_sequences) {
    SchedSequence* next = waiting_.next(shares_);
    if (next == nullptr) return;
    if (!has_room_for(*next, promised)) {
      // What can never fit does not wait for the moves that looking for its prefix has planned.
      if (running_.empty() && (!awaits_moves() || !fits_alone(*next))) step_.exhausted = next;
      return;
    }
    waiting_.pop(*next);
    next->is_running = true;
    running_.push_back(next);
    may_pass_ |= may_pass_expectation(*next);
    promised += bytes_to_end(*next);  // beside others its steps are cut elsewhere
  }
}

}  // namespace kvi
