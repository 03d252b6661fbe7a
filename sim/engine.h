// The core, scheduler and tiers as an engine runs them, in one thread, with a hash in place of a model.
//
// It does what lib/engine's EngineCore does, between the same two points of a step: schedule() decides and
// finish_step() computes; in between, users and the transfer worker do what they may do while a device computes.
//
// Not thread-safe.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "cache/cache_manager.h"
#include "sched/scheduler.h"
#include "sim/contents.h"
#include "sim/coverage.h"
#include "sim/machine.h"
#include "sim/operation.h"
#include "sim/transfers.h"

namespace kvi::sim {

// What an engine is opened with.
struct Shape {
  std::vector<LayerGroup> groups;
  uint64_t budget_bytes = 0, range_bytes = 0, host_bytes = 0, disk_bytes = 0;
  SchedulerLimits limits;
  std::string policy;
  double tenant_share = 0.5;
};

struct Request {
  SchedSequence scheduled;
  int len_before = 0;   // tokens of the session before the prompt
  int to_generate = 0;  // further tokens
  bool is_cancelled = false, rolls_back = false;
};

struct Session {
  int place = 0;  // its number
  Owner owner;
  SequencePages pages;
  std::vector<TokenId> tokens;
  std::vector<uint64_t> prefixes;  // [i]: of the first i tokens
  uint64_t last_used = 0;
  bool is_held = false, is_abandoned = false;
  uint64_t failures_before_suspend = 0;
  int len_when_suspended = 0;        // tokens with K and V
  std::unique_ptr<Request> request;  // nullptr: idle

  int len() const { return static_cast<int>(tokens.size()); }
  void append(TokenId token) {
    tokens.push_back(token);
    prefixes.push_back(extend_prefix(prefixes.back(), token));
  }
  void resize(int len) {
    tokens.resize(static_cast<size_t>(len));
    prefixes.resize(static_cast<size_t>(len) + 1);
  }
};

enum class Submitted : uint8_t { queued, too_large, queue_full };

class Engine {
 public:
  Engine(const Shape& shape, Machine& machine, int model, Trace& trace, Coverage& coverage);
  ~Engine();

  // ---- users ----
  Session& open(int place, Owner owner, bool reads_shared);
  Session* session(int place) const { return sessions_[place].get(); }
  // The tokens after those that it has; nothing has changed where it is not queued.
  Submitted submit(Session& session, std::span<const TokenId> tokens, int to_generate, int priority,
                   int64_t deadline_us);
  void close(Session& session);
  void truncate(Session& session, int num_tokens);
  void fork(const Session& session, int place);
  bool suspend(Session& session, TierId tier);
  void park(Session& session) { cache_->park(session.pages); }
  void set_budget(uint64_t num_bytes);

  // ---- the engine's thread ----
  void schedule();  // requires: not computing
  void finish_step();
  bool is_computing() const { return is_computing_; }
  const Step& step() const { return *step_; }
  // Nothing to do until somebody submits, or a move is reported.
  bool would_sleep() const { return would_sleep_; }
  void want_memory() { memory_is_wanted_ = true; }  // another engine does

  CacheManager& cache() { return *cache_; }
  const CacheManager& cache() const { return *cache_; }
  const Scheduler& scheduler() const { return *scheduler_; }
  Transfers& transfers() { return *transfers_; }
  const Transfers& transfers() const { return *transfers_; }
  const Shape& shape() const { return shape_; }
  const Machine& machine() const { return machine_; }
  int model() const { return model_; }
  int num_requests() const;
  bool has_disk() const { return disk_ != nullptr; }
  template <typename Visit>
  void each_session(const Visit& visit) const {
    for (const auto& session : sessions_) {
      if (session) visit(*session);
    }
  }

 private:
  enum class End : uint8_t { finished, cancelled, expired, exhausted };

  void make_copies();
  void compute();
  void end_request(Session& session, End end);
  void reap();
  bool reclaim();
  void keep_within_budget();
  Slot slot(int group, PageId page, int index) const;

  const Shape& shape_;
  Machine& machine_;
  const int model_;
  Trace& trace_;
  Coverage& coverage_;
  std::shared_ptr<TierStore> host_, disk_;
  std::unique_ptr<CacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Transfers> transfers_;
  std::array<std::unique_ptr<Session>, kNumSessions> sessions_;
  const Step* step_ = nullptr;
  bool is_computing_ = false, would_sleep_ = false, memory_is_wanted_ = false;
  uint64_t num_used_ = 0;
};

}  // namespace kvi::sim
