// The heart of an engine: schedule, prepare, forward, sample, commit, for as long as there is work.
//
// One thread runs run(); it alone computes. Users' threads submit jobs and change idle sequences under
// the core's mutex, which is held for deciding only, never while the device computes: so releasing a
// session never waits for a step.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "cache/cache_manager.h"
#include "cache/prefix_probe.h"
#include "engine/job.h"
#include "engine/loaded_model.h"
#include "engine/metrics.h"
#include "engine/options.h"
#include "engine/pinned_prefix.h"
#include "engine/request_news.h"
#include "engine/sequence_state.h"
#include "engine/transfer_worker.h"
#include "model/forward.h"
#include "sched/scheduler.h"

namespace kvi {

class EngineCore : public std::enable_shared_from_this<EngineCore> {
 public:
  // Throws as kvi_engine_create says.
  EngineCore(std::shared_ptr<const LoadedModel> model, const EngineOptions& options);
  ~EngineCore();

  void run();  // the body of the engine's thread: returns after stop()
  void stop();
  bool is_stopped() const { return stopping_.load(); }
  bool wait_ended(std::optional<std::chrono::milliseconds> timeout);
  bool on_engine_thread() const { return thread_id_.load() == std::this_thread::get_id(); }

  const LoadedModel& model() const { return *model_; }
  const std::shared_ptr<const LoadedModel>& shared_model() const { return model_; }
  const std::shared_ptr<RequestNews>& news() const { return news_; }
  const std::shared_ptr<Metrics>& metrics() const { return metrics_; }
  uint32_t max_model_len() const { return max_model_len_; }
  EngineStats stats() const;
  void check_open() const;  // throws CLOSED after stop()

  // Sequences of sessions. The caller owns the sequence (SequenceOwner::user).
  std::shared_ptr<SequenceState> create_sequence(const SessionOptions& options);
  std::shared_ptr<SequenceState> fork(const SequenceState& sequence);
  void truncate(SequenceState& sequence, uint32_t num_tokens);
  // Its session is gone: cancels its request and gives the pages back, now or when the request ends.
  void abandon(SequenceState& sequence);
  // Gives its pages back and keeps a copy in the tier. Throws UNSUPPORTED, EXHAUSTED.
  void suspend(SequenceState& sequence, TierId tier);
  void describe(const SequenceState& sequence, SessionInfo& info) const;  // what the pages say
  std::shared_ptr<Request> running_request(const SequenceState& sequence) const;

  void resume(SequenceState& sequence);

  // ---- the cache ----
  PrefixProbe probe(const std::string& tenant, std::span<const TokenId> tokens);
  // What the sequence has computed. Throws EXHAUSTED where the tier has no room.
  std::shared_ptr<PinnedPrefix> pin(SequenceState& sequence, const PinOptions& options);
  // What of the tokens is cached. Throws NOT_FOUND too.
  std::shared_ptr<PinnedPrefix> pin_cached(const std::string& tenant,
                                           std::span<const TokenId> tokens,
                                           const PinOptions& options);
  void unpin(PinnedPrefix& pin);
  // Brings what lower tiers have to the device. Returns how many tokens that and what is there makes.
  uint32_t prefetch(const std::string& tenant, std::span<const TokenId> tokens);
  void evict(const std::string& tenant, std::span<const TokenId> tokens);
  void clear(const std::optional<std::string>& tenant);  // nullopt: of all
  std::vector<CacheEvent> take_events(size_t max_count);
  CacheReport cache_report() const;

  // ---- snapshots: pages of no session, whose bytes are read or filled outside the mutex ----
  const PageLayout& page_layout(int group) const { return *placement_.groups[group].layout; }
  const std::vector<LayerGroup>& layer_groups() const { return cache_->groups(); }
  std::byte* page_address(int group, PageId page) const;
  const std::string& numerics() const { return numerics_; }
  // Holds what an idle sequence has of K and V and, where it gave some up, what of it is still cached in any tier.
  // The sequence stays as it is. pin: empty; to be released also when this throws.
  void pin_pages(const SequenceState& sequence, SequencePages& pin);
  // Pages for the first num_tokens positions of a sequence that was computed elsewhere. Throws EXHAUSTED.
  void reserve_restored(const SessionOptions& options, int num_tokens, SequencePages& pages);
  void release_pages(SequencePages& pages);
  // While somebody holds pages so, requests that lack some wait.
  void count_held(int change) {
    std::lock_guard lock(mutex_);
    num_held_ += change;
  }
  // A sequence with these tokens whose first kv_len positions the reserved pages now hold. It is never indexed, as
  // only checksums vouch for them; unless kv_len is 0.
  std::shared_ptr<SequenceState> adopt_sequence(const SessionOptions& options,
                                                std::vector<TokenId> tokens, SequencePages& pages,
                                                int kv_len);

  // ---- the budget ----
  void set_budget(uint64_t num_bytes);  // throws INVALID_ARGUMENT
  uint64_t trim(uint64_t num_bytes);    // of what is only cached; returns what was given back

  // From here on the sequence is the job's, until its on_end. request: null for scoring.
  // Throws EXHAUSTED when the queue is full or the KV budget can never hold its tokens, CLOSED.
  void submit(const std::shared_ptr<Job>& job, std::shared_ptr<Request> request);

 private:
  struct LogitRow {
    Job* job;
    int row, position;
  };
  // One step's work, outside the mutex. Reused: a step that only decodes allocates nothing.
  struct Batch {
    ForwardBatch forward;
    std::vector<LogitRow> logit_rows;
    std::vector<int32_t> head_rows;  // of one call of Executor::head
    // Of one call of Executor::choose.
    std::vector<TokenChoice> choices;
    std::vector<Job*> choosers;
    std::vector<LogitEdit> edits;
    std::vector<TokenId> tokens;
  };

  class Copies;

  void go_on_without_items(std::unique_lock<std::mutex>& lock);
  bool wait_for_memory(const SchedSequence& sequence, std::unique_lock<std::mutex>& lock);
  void run_steps(std::unique_lock<std::mutex>& lock);
  void reap_interrupted();
  void prepare(const Step& step);
  void make_copies(std::span<const PageCopy> copies) noexcept;
  // Of pages that no step knows of, on a user's thread. Lets go of the mutex meanwhile.
  void finish_copies_unlocked(std::unique_lock<std::mutex>& lock,
                              const std::vector<PageCopy>& copies);
  void compute();
  void choose_tokens();
  void start_worker();
  void commit(const Step& step);
  // What ends work allocates nothing: it goes on where memory has run out.
  void end_job(Job& job, Finish finish, std::optional<Error> error = std::nullopt) noexcept;
  void end_started(std::unique_lock<std::mutex>& lock, const Error& error);
  Error error_of_step() const noexcept;
  void log_warnings(std::unique_lock<std::mutex>& lock);
  bool reclaim_idle_session();
  void keep_within_budget();
  void dispatch_moves();
  void note_prefill_rate(int num_tokens, int64_t took_us);
  void note_rate(double& mean, double rate);
  void finish_stores(std::unique_lock<std::mutex>& lock);
  void note_disk_failure();
  void complete_move(const PageMove& move, MoveOutcome outcome, double seconds);
  SequencePages look_up_sequence(const std::string& tenant, bool reads_shared);
  std::shared_ptr<PinnedPrefix> make_pin(SequencePages pages, const PinOptions& options);
  void let_go(PinnedPrefix& pin);
  int64_t expire_pins();
  void end_prefetches();
  void suspend_pages(SequencePages& pages, std::span<const TokenId> tokens, TierId tier);
  void wait_for_work(std::unique_lock<std::mutex>& lock, int64_t until_us);
  void show_gauges();  // to metrics_: requires the mutex
  // The gauges show what was changed, and the engine's thread looks at it: requires the mutex.
  void tell_change();
  void change_pages(SequenceState& sequence, uint32_t num_tokens);
  Job& job_of(const SchedSequence& sequence);
  uint64_t bytes_alone(const SchedSequence& scheduled) const;  // of its pages, at their peak
  const char* budget_name() const;
  Error never_fits_error(const SchedSequence& scheduled) const;
  Error exhausted_error(const SchedSequence& scheduled) const;

  const std::shared_ptr<const LoadedModel> model_;
  const EngineOptions options_;
  const uint32_t max_model_len_;
  const std::string numerics_;
  const std::shared_ptr<RequestNews> news_ = std::make_shared<RequestNews>();
  const std::shared_ptr<Clock> clock_ = steady_clock();
  std::shared_ptr<Metrics> metrics_;  // set once, by the constructor
  Log log_;

  const Error out_of_memory_ = out_of_memory_error();

  mutable std::mutex mutex_;
  std::condition_variable work_;   // there may be something to do
  std::condition_variable ended_;  // run() has returned
  std::atomic<bool> stopping_{false};
  std::atomic<bool> memory_wanted_{false};  // by another engine of the shared budget
  bool has_ended_ = false;
  std::atomic<std::thread::id> thread_id_{};

  // Guarded by mutex_.
  std::vector<int> group_of_layer_;
  std::unique_ptr<CacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::shared_ptr<Job>> jobs_;               // waiting and running
  std::vector<std::weak_ptr<SequenceState>> sequences_;  // of all sessions
  uint64_t num_requests_ = 0;
  CacheStats shown_cache_;           // as metrics_ has them
  SchedulerStats shown_scheduling_;  // likewise
  std::vector<PinnedPrefix*> pins_;  // that are held
  std::vector<SequencePages> prefetching_;
  SchedulerRates rates_;
  int budget_member_ = -1;                 // of a shared budget
  std::optional<int64_t> short_since_us_;  // that nothing goes on for lack of memory
  std::vector<std::string> warnings_;      // not logged yet
  std::string last_disk_failure_;
  EngineStats stats_;

  KvPlacement placement_;  // as it was made

  // The engine's thread only.
  std::unique_ptr<Executor> executor_;
  Batch batch_;
  std::vector<float> logits_;  // [max_logit_rows, vocab]
  int max_logit_rows_ = 0;
  int num_steps_without_items_ = 0;
  int num_dispatch_failures_ = 0;
  int num_held_ = 0;  // sequences that no session has, of snapshots

  std::vector<std::shared_ptr<TierStore>> stores_;  // [lower tier]
  std::string disk_missing_;  // why there is no disk tier, where one was asked for
  std::shared_ptr<ForeignPages> foreign_pages_;  // thread-safe; nullptr: there is no disk tier
  std::unique_ptr<TransferWorker> worker_;       // nullptr: there is no lower tier
};

}  // namespace kvi
