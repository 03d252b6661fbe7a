// What holds after every step of the simulated engine, whatever went wrong around it. Each check throws Failure.
//
// Not thread-safe.
#pragma once

#include <array>

#include "sim/engine.h"

namespace kvi::sim {

// Every slot that the session's next token may read holds what its scope and tokens say.
void check_readable(const Engine& engine, const Session& session);
// The pages of the next `count` tokens are the session's alone, and hold nothing of another tenant.
void check_may_write(const Engine& engine, const Session& session, int count);
// Only what cannot fit is refused for its size, and all of that.
void check_admission(const Engine& engine, const Session& session, Submitted submitted);

// Taken before the scheduler decides, and compared with what it decided.
class StepExpectations {
 public:
  explicit StepExpectations(const Engine& engine);
  void check(const Engine& engine, const Step& step) const;
  bool was_preempted(const Session& session) const {
    return session.request &&
           session.request->scheduled.num_preemptions != num_preemptions_[session.place];
  }

 private:
  void check_preemptions(const Engine& engine, const Step& step) const;

  std::array<int, kNumSessions> num_preemptions_ = {};
  uint64_t refusals_;
};

// Budgets and counts: cheap, after every operation.
class AccountingCheck {
 public:
  void check(const Engine& engine);
  void forget() { mapped_bytes_ = UINT64_MAX; }  // another engine follows

 private:
  uint64_t mapped_bytes_ = UINT64_MAX;
};

// All that the core knows, counted anew: holders of pages, pins, what is indexed.
void check_everything(const Engine& engine, bool leaves_go_first);
// After everybody has let go.
void check_nothing_is_held(const Engine& engine);

}  // namespace kvi::sim
