// The engine's memory: its budget, who gives pages up, moves between tiers, and what of it is shown.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"
#include "engine/engine_core.h"

namespace kvi {
namespace {

// How long a request waits for memory that others hold, in which they may end their steps; they are asked again and
// again.
constexpr int64_t kLongestMemoryWaitUs = 10'000'000;
constexpr std::chrono::milliseconds kMemoryWait{10};
constexpr int kLeastPrefillTokens = 32;
constexpr int64_t kFinishStoresUs = 5'000'000;
constexpr uint64_t kGivenToOthers = 8;  // of what is cached, one part in so many at a time

}  // namespace

void EngineCore::suspend(SequenceState& sequence, TierId tier) {
  std::lock_guard lock(mutex_);
  if (!sequence.pages.pinned.empty()) return;  // it is suspended, and stays where it is
  suspend_pages(sequence.pages, sequence.tokens, tier);
  tell_change();
}

void EngineCore::suspend_pages(SequencePages& pages, std::span<const TokenId> tokens, TierId tier) {
  const LowerTier* lower = cache_->prefixes().tier(tier);
  const char* name = tier == TierId::host ? "host" : "disk";
  if (lower == nullptr) {
    if (tier == TierId::disk && !disk_missing_.empty()) {
      throw Error(Status::UNSUPPORTED, concat("the engine has no disk tier: ", disk_missing_));
    }
    throw Error(Status::UNSUPPORTED,
                concat("the engine has no ", name, " tier; open it with ", name, "_cache_bytes"));
  }
  if (!cache_->is_ready(pages)) {
    throw Error(Status::BUSY,
                "pages are on their way from a lower tier; try again when they have come")
        .retryable();
  }
  uint64_t needed = 0;
  if (cache_->suspend(pages, tokens, tier, &needed)) return;
  const uint64_t available = lower->budget_bytes() - lower->pinned_bytes();
  const std::string failure = lower->store().stats().last_failure;
  const std::string why = needed > available ? concat(available, " are not pinned by others")
                          : failure.empty()
                              ? "and others are being moved; try again when they are done"
                              : concat("and the tier fails: ", failure);
  throw Error(
      Status::EXHAUSTED,
      concat("the ", name, " tier cannot keep the session now: it needs ", needed, " bytes, ", why))
      .amounts(needed, available)
      .retryable();
}

void EngineCore::set_budget(uint64_t num_bytes) {
  check_open();
  std::lock_guard lock(mutex_);
  const uint64_t most = cache_->prefixes().pages().range_bytes();
  if (num_bytes < cache_->least_budget() || num_bytes > most) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("kv_budget_bytes is ", num_bytes, "; it must be from ",
                       cache_->least_budget(), " (one page of each layer group, in granules of ",
                       cache_->prefixes().pages().granule_bytes(), ") to ", most,
                       " (what addresses were reserved for when it was created)"))
        .amounts(num_bytes, most);
  }
  cache_->prefixes().pages().set_budget(num_bytes);
  stats_.kv_budget_bytes = num_bytes;
  // The engine's thread does the rest between its steps.
  cache_->prefixes().trim(cache_->prefixes().pages().excess_bytes());
  tell_change();
}

uint64_t EngineCore::trim(uint64_t num_bytes) {
  check_open();
  std::lock_guard lock(mutex_);
  const uint64_t given_back = cache_->prefixes().trim(num_bytes);
  show_gauges();
  return given_back;
}

// The session that was idle longest gives its pages up; they stay cached while there is memory.
bool EngineCore::reclaim_idle_session() {
  std::shared_ptr<SequenceState> oldest;
  for (const std::weak_ptr<SequenceState>& one : sequences_) {
    std::shared_ptr<SequenceState> sequence = one.lock();
    if (sequence == nullptr) continue;
    if (sequence->owner.load() == SequenceOwner::request) continue;
    if (cache_->held_bytes(sequence->pages) == 0) continue;
    if (oldest == nullptr || sequence->last_used < oldest->last_used) oldest = std::move(sequence);
  }
  if (oldest == nullptr) return false;
  cache_->park(oldest->pages);
  return true;
}

// Grows the budget where it is nearly used up, and gives back what is leased beyond it.
void EngineCore::keep_within_budget() {
  DevicePages& pages = cache_->prefixes().pages();
  const uint64_t budget = pages.budget_bytes();
  const uint64_t most = options_.kv_budget_max_bytes;
  if (budget < most && static_cast<double>(pages.used_bytes()) >=
                           options_.kv_grow_at * static_cast<double>(budget)) {
    const double grown = options_.kv_grow_factor * static_cast<double>(budget);
    pages.set_budget(grown < static_cast<double>(most) ? static_cast<uint64_t>(grown) : most);
    stats_.kv_budget_bytes = pages.budget_bytes();
  }
  uint64_t excess = pages.excess_bytes();
  if (memory_wanted_.exchange(false)) {
    // A part at a time: whoever wants more asks again.
    excess = std::max(
        excess, pages.bytes_in_class(PageClass::cached) / kGivenToOthers + pages.granule_bytes());
  }
  while (excess > 0) {
    if (cache_->prefixes().trim(excess) >= excess) return;
    excess = pages.excess_bytes();
    if (excess == 0 || (!reclaim_idle_session() && !scheduler_->preempt_one())) return;
  }
}

// Waits a little, where a snapshot that is being written or read, or the others of a shared budget, may still give back
// what this request lacks. Those who wait together give up together; who comes later has a wait of its own.
bool EngineCore::wait_for_memory(const SchedSequence& sequence,
                                 std::unique_lock<std::mutex>& lock) {
  DevicePages& pages = cache_->prefixes().pages();
  const bool others_have_some = options_.shared_budget &&
                                options_.shared_budget->num_members() > 1 &&
                                options_.shared_budget->leased() > pages.mapped_bytes();
  const bool may_come = (others_have_some || num_held_ > 0) &&
                        bytes_alone(sequence) <= pages.limit_bytes();
  const int64_t now_us = clock_->now_us();
  if (!short_since_us_) short_since_us_ = now_us;
  const int64_t since_us = std::max(*short_since_us_, job_of(sequence).submitted_us);
  if (!may_come || now_us - since_us >= kLongestMemoryWaitUs) return false;
  if (others_have_some) {
    // With what is too little for either, two that are short would keep each other waiting.
    pages.give_back_idle(UINT64_MAX);
    options_.shared_budget->call_for_memory(budget_member_);
  }
  work_.wait_for(lock, kMemoryWait);
  return true;
}

void EngineCore::start_worker() {
  if (!stores_[0] && !stores_[1]) return;
  std::vector<TransferWorker::GroupPages> groups;
  for (const KvGroupPages& group : placement_.groups) {
    groups.push_back({group.pages, group.layout->page_bytes});
  }
  worker_ = std::make_unique<TransferWorker>(
      model_->backend(), std::move(groups), stores_,
      [this](const PageMove& move, MoveOutcome outcome, double seconds) {
        complete_move(move, outcome, seconds);
      });
}

void EngineCore::dispatch_moves() {
  if (!worker_) return;
  std::list<PageMove> moves = cache_->prefixes().take_moves(SIZE_MAX);
  if (!moves.empty()) worker_->push(std::move(moves));
}

// At the end: what became idle, and what is on its way to the disk, is there after a restart.
void EngineCore::finish_stores(std::unique_lock<std::mutex>& lock) {
  if (cache_->prefixes().tier(TierId::disk) == nullptr) return;
  const int64_t until_us = clock_->now_us() + kFinishStoresUs;
  dispatch_moves();  // also plans copies of what became idle since the last step
  while (cache_->prefixes().num_moves() > 0 && clock_->now_us() < until_us) {
    if (cache_->prefixes().num_running_moves() == 0) return;  // no memory for any: they are lost
    work_.wait_for(lock, kMemoryWait);
    dispatch_moves();
  }
}

// A step of few tokens reads all weights for them, and says little of what prefill costs.
void EngineCore::note_prefill_rate(int num_tokens, int64_t took_us) {
  if (num_tokens < kLeastPrefillTokens || took_us <= 0) return;
  note_rate(rates_.prefill_tokens_per_second, num_tokens * 1e6 / static_cast<double>(took_us));
}

void EngineCore::note_rate(double& mean, double rate) {
  mean = mean == 0 ? rate : mean + (rate - mean) / 16;
  scheduler_->set_rates(rates_);
}

// Each failure is told once, by the engine's own thread: the caller's function may come back to the engine, and the
// transfer thread is one that the engine waits for.
void EngineCore::note_disk_failure() {
  metrics_->disk_failed();
  try_to([&] {
    std::string failure = stores_[static_cast<int>(TierId::disk) - 1]->stats().last_failure;
    if (failure.empty() || failure == last_disk_failure_) return;
    warnings_.push_back(concat("the disk tier fails: ", failure));
    last_disk_failure_ = std::move(failure);
  });
}

void EngineCore::complete_move(const PageMove& move, MoveOutcome outcome, double seconds) {
  const bool ok = outcome == MoveOutcome::made;
  std::lock_guard lock(mutex_);
  if (outcome == MoveOutcome::refused_by_store && move.tier == TierId::disk) note_disk_failure();
  if (ok && move.tier == TierId::host && move.kind != MoveKind::discard && seconds > 0) {
    note_rate(rates_.host_bytes_per_second,
              static_cast<double>(placement_.groups[move.group].layout->page_bytes) / seconds);
  }
  cache_->prefixes().complete(move.id, ok);
  tell_change();
}

void EngineCore::tell_change() {
  show_gauges();
  work_.notify_all();
}

void EngineCore::show_gauges() {
  metrics_->set_queue(static_cast<uint64_t>(scheduler_->num_running()),
                      static_cast<uint64_t>(scheduler_->num_waiting()));
  metrics_->set_sessions(stats_.num_sessions);
  const PrefixCache& prefixes = cache_->prefixes();
  const DevicePages& pages = prefixes.pages();
  metrics_->set_budget(TierId::device, pages.budget_bytes());
  for (int g = 0; g < pages.num_groups(); ++g) {
    const PagePool& pool = pages.pool(g);
    const auto bytes_in = [&](PageClass page_class) {
      return static_cast<uint64_t>(pool.num_in_class(page_class)) * pages.range(g).page_bytes();
    };
    PageUse use;
    use.mapped_bytes = pages.range(g).mapped_bytes();
    use.allocated_bytes = bytes_in(PageClass::private_) + bytes_in(PageClass::pinned);
    use.cached_bytes = bytes_in(PageClass::cached);
    use.deferred_bytes = bytes_in(PageClass::deferred);
    metrics_->set_pages(TierId::device, static_cast<size_t>(g), use);
  }
  // Counters of the core, told by what they grew.
  const CacheStats& now = prefixes.stats();
  const CacheStats before = std::exchange(shown_cache_, now);
  for (TierId tier : {TierId::device, TierId::host, TierId::disk}) {
    const int t = static_cast<int>(tier);
    if (tier != TierId::device) {
      const LowerTier* lower = prefixes.tier(tier);
      if (lower == nullptr) continue;
      metrics_->set_budget(tier, lower->budget_bytes());
      for (int g = 0; g < lower->num_groups(); ++g) {
        const uint64_t used = lower->used_bytes(g), pinned = lower->pinned_bytes(g);
        PageUse use;
        use.mapped_bytes = used;
        use.allocated_bytes = pinned;
        use.cached_bytes = used - pinned;
        metrics_->set_pages(tier, static_cast<size_t>(g), use);
      }
      metrics_->swapped(tier, SwapDirection::out, now.stored_bytes[t] - before.stored_bytes[t]);
      metrics_->swapped(tier, SwapDirection::in, now.loaded_bytes[t] - before.loaded_bytes[t]);
    }
    metrics_->prefix_hit(tier, now.hit_tokens[t] - before.hit_tokens[t]);
    metrics_->evicted(tier, now.evicted_pages[t] - before.evicted_pages[t]);
  }
  const SchedulerStats& scheduling = scheduler_->stats();
  for (; shown_scheduling_.preemptions_swapped < scheduling.preemptions_swapped;
       ++shown_scheduling_.preemptions_swapped) {
    metrics_->preempted(Preemption::swap);
  }
  for (; shown_scheduling_.preemptions_recomputed < scheduling.preemptions_recomputed;
       ++shown_scheduling_.preemptions_recomputed) {
    metrics_->preempted(Preemption::recompute);
  }
}

// The one that is too small.
const char* EngineCore::budget_name() const {
  return options_.shared_budget &&
                 options_.shared_budget->limit() < cache_->prefixes().pages().budget_bytes()
             ? "the limit of the shared budget"
             : "kv_budget_bytes";
}

Error EngineCore::never_fits_error(const SchedSequence& scheduled) const {
  const uint64_t needed = bytes_alone(scheduled), budget = cache_->budget_bytes();
  Error error(Status::EXHAUSTED,
              concat("the KV budget can never hold ", scheduled.num_known,
                     " tokens: their pages take ", needed, " bytes and ", budget_name(), " is ",
                     budget, "; raise it or shorten the prompt"));
  return error.amounts(needed, budget);
}

Error EngineCore::exhausted_error(const SchedSequence& scheduled) const {
  if (bytes_alone(scheduled) > cache_->budget_bytes()) return never_fits_error(scheduled);
  const uint64_t needed = cache_->bytes_to_reach_alone(*scheduled.pages, scheduled.num_known,
                                                       static_cast<int>(options_.max_batch_tokens));
  const auto beyond = [](uint64_t bytes, uint64_t taken) { return bytes - std::min(bytes, taken); };
  const uint64_t budget = cache_->budget_bytes(), used = cache_->used_bytes();
  if (options_.shared_budget) {
    const DevicePages& pages = cache_->prefixes().pages();
    const uint64_t limit = options_.shared_budget->limit();
    const uint64_t others = beyond(options_.shared_budget->leased(), pages.mapped_bytes());
    const uint64_t free = std::min(beyond(limit, others + used),
                                   beyond(pages.budget_bytes(), used));
    if (others > 0 && beyond(limit, others) < pages.budget_bytes()) {
      Error error(Status::EXHAUSTED,
                  concat("the shared budget of ", limit, " bytes is used up: this request needs ",
                         needed, " more bytes for ", scheduled.num_known, " tokens, ", free,
                         " are free, and the other engines of the budget hold ", others,
                         "; release their sessions or pins, or raise its limit"));
      return error.amounts(needed, free).retryable();
    }
  }
  const uint64_t available = beyond(budget, used);  // it may have shrunk
  Error error(Status::EXHAUSTED,
              concat("the KV budget of ", budget, " bytes is used up: this request needs ", needed,
                     " more bytes for ", scheduled.num_known, " tokens, ", available,
                     " are free; release pins or raise ", budget_name()));
  return error.amounts(needed, available).retryable();
}

uint64_t EngineCore::bytes_alone(const SchedSequence& scheduled) const {
  return cache_->least_budget_for(*scheduled.pages, scheduled.num_known,
                                  static_cast<int>(options_.max_batch_tokens));
}

}  // namespace kvi
