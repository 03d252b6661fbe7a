#include "sim/engine.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cache/disk_store.h"
#include "cache/host_store.h"
#include "sim/checks.h"

namespace kvi::sim {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

CacheIdentity identity_of(int model) {
  return {.model = concat("model ", model), .layout = "pages", .numerics = "hash", .adapter = ""};
}

}  // namespace

Engine::Engine(const Shape& shape, Machine& machine, int model, Trace& trace, Coverage& coverage)
    : shape_(shape), machine_(machine), model_(model), trace_(trace), coverage_(coverage) {
  const auto reserve = [&](uint64_t num_bytes) {
    return std::make_unique<SimulatedMemory>(num_bytes, machine_.memory);
  };
  std::vector<TierGroup> tier_groups;
  for (const LayerGroup& group : shape.groups) {
    tier_groups.push_back({group.layout.page_bytes, group.layout.page_len});
  }
  CacheOptions options;
  options.budget_bytes = shape.budget_bytes;
  options.range_bytes = shape.range_bytes;
  options.shared_budget = machine.budget;
  options.eviction_policy = shape.policy;
  options.tenant_share = shape.tenant_share;
  options.identity = identity_of(model);
  options.secret.assign(32, std::byte{7});
  if (shape.host_bytes > 0) {
    host_ = std::make_shared<HostStore>(tier_groups, shape.host_bytes, reserve);
    options.host = host_;
    options.host_bytes = shape.host_bytes;
  }
  if (shape.disk_bytes > 0) {
    try {
      disk_ = DiskStore::open({.folder = kDiskFolder,
                               .capacity_bytes = shape.disk_bytes,
                               .identity = root_digest(options.identity),
                               .groups = tier_groups},
                              machine.files, machine.clock);
      options.disk = disk_;
      options.disk_bytes = shape.disk_bytes;
    } catch (const Error& error) {
      if (error.status() != Status::IO) throw;
    }
  }
  cache_ = std::make_unique<CacheManager>(shape.groups, options, reserve);
  scheduler_ = std::make_unique<Scheduler>(*cache_, shape.limits, [this] { return reclaim(); });
  transfers_ = std::make_unique<Transfers>(*cache_, host_, disk_, trace);
  if (disk_) coverage_.adopted += cache_->prefixes().tier(TierId::disk)->used_bytes();
}

Engine::~Engine() {
  coverage_.swapped += scheduler_->stats().preemptions_swapped;
  coverage_.recomputed += scheduler_->stats().preemptions_recomputed;
  const CacheStats& stats = cache_->prefixes().stats();
  coverage_.device_hits += stats.hit_tokens[0];
  coverage_.host_hits += stats.hit_tokens[1];
  coverage_.disk_hits += stats.hit_tokens[2];
  coverage_.evicted += stats.evicted_pages[0];
  coverage_.stored += stats.stored_bytes[1] + stats.stored_bytes[2];
  coverage_.failed_moves += stats.failed_moves;
  if (disk_) coverage_.disk_failures += disk_->stats().num_failures;
}

// ---- users ----

Session& Engine::open(int place, Owner owner, bool reads_shared) {
  auto session = std::make_unique<Session>();
  session->place = place;
  session->owner = owner;
  session->prefixes.push_back(empty_prefix(model_));
  const int scope = owner.tenant == kOperator
                        ? kSharedScopeId
                        : cache_->prefixes().scope_of_tenant(concat("tenant ", int{owner.tenant}));
  session->pages = cache_->make_sequence(scope);
  session->pages.reads_shared = reads_shared;
  session->pages.is_indexed = owner.session == 0;
  sessions_[place] = std::move(session);
  return *sessions_[place];
}

Submitted Engine::submit(Session& session, std::span<const TokenId> tokens, int to_generate,
                         int priority, int64_t deadline_us) {
  auto request = std::make_unique<Request>();
  request->len_before = session.len();
  request->to_generate = to_generate;
  for (const TokenId token : tokens) session.append(token);
  SchedSequence& scheduled = request->scheduled;
  scheduled.pages = &session.pages;
  scheduled.tokens = &session.tokens;
  scheduled.num_known = session.len();
  // Half of them are not known to generate anything, and preempt more.
  scheduled.max_len = session.len() + (session.place % 2 == 0 ? to_generate : 0);
  scheduled.first_wanted = session.len() - 1;
  scheduled.priority = priority;
  scheduled.deadline_us = deadline_us;
  scheduled.owner = &session;
  cache_->truncate(session.pages, session.len() - 1);
  const uint64_t needed = cache_->least_budget_for(session.pages, session.len(),
                                                   shape_.limits.max_batch_tokens);
  Submitted submitted = Submitted::queued;
  if (needed > cache_->budget_bytes()) {
    submitted = Submitted::too_large;
    ++coverage_.refused_for_size;
  } else if (!scheduler_->enqueue(scheduled)) {
    submitted = Submitted::queue_full;
    ++coverage_.refused_for_queue;
  }
  trace_.add('s', {session.place, session.len(), static_cast<int64_t>(submitted)});
  check_admission(*this, session, submitted);
  if (submitted == Submitted::queued) {
    session.request = std::move(request);
    would_sleep_ = false;
  } else {
    truncate(session, request->len_before);
  }
  return submitted;
}

void Engine::close(Session& session) {
  if (session.request) {
    session.is_abandoned = true;
    session.request->is_cancelled = true;
    return;
  }
  cache_->park(session.pages);
  sessions_[session.place].reset();
}

void Engine::truncate(Session& session, int num_tokens) {
  session.resize(std::min(session.len(), num_tokens));
  cache_->truncate(session.pages, session.len());
}

void Engine::fork(const Session& source, int place) {
  Session& copy = open(place, source.owner, source.pages.reads_shared);
  copy.tokens = source.tokens;
  copy.prefixes = source.prefixes;
  copy.len_when_suspended = source.len_when_suspended;
  copy.failures_before_suspend = source.failures_before_suspend;
  copy.pages = cache_->fork(source.pages);
  ++coverage_.forked;
}

bool Engine::suspend(Session& session, TierId tier) {
  uint64_t needed = 0;
  session.failures_before_suspend = transfers_->num_failed;
  session.len_when_suspended = session.pages.num_tokens;
  const bool ok = cache_->suspend(session.pages, session.tokens, tier, &needed);
  coverage_.suspended += ok && !session.pages.pinned.empty();
  trace_.add('u', {session.place, ok, static_cast<int64_t>(needed)});
  return ok;
}

void Engine::set_budget(uint64_t num_bytes) { cache_->prefixes().pages().set_budget(num_bytes); }

int Engine::num_requests() const {
  int count = 0;
  each_session([&](const Session& session) { count += session.request != nullptr; });
  return count;
}

// ---- the engine's thread ----

void Engine::schedule() {
  reap();
  const StepExpectations before(*this);
  keep_within_budget();
  const StepExpectations expected(*this);
  step_ = &scheduler_->schedule();
  transfers_->dispatch();
  ++coverage_.steps;
  for (const StepItem& item : step_->items) {
    const Session& session = *static_cast<Session*>(item.sequence->owner);
    trace_.add('i', {session.place, session.pages.num_tokens, item.num_tokens});
  }
  for (const PageCopy& copy : step_->copies) {
    ++(copy.from == kNoPage ? coverage_.zeroed : coverage_.copied);
    trace_.add('p', {copy.group, copy.from, copy.to});
  }
  expected.check(*this, *step_);
  for (const auto& session : sessions_) {
    if (session && before.was_preempted(*session)) {
      session->failures_before_suspend = transfers_->num_failed;
      session->len_when_suspended = session->len();
    }
  }
  would_sleep_ = false;
  if (step_->items.empty()) {
    const bool has_ended_one = step_->exhausted != nullptr;
    if (has_ended_one) {
      end_request(*static_cast<Session*>(step_->exhausted->owner), End::exhausted);
    }
    would_sleep_ = !has_ended_one && step_->copies.empty() &&
                   !cache_->prefixes().has_planned_moves();
    make_copies();
    cache_->finish_copies(step_->copies);
    return;
  }
  is_computing_ = true;
}

void Engine::finish_step() {
  is_computing_ = false;
  make_copies();
  compute();
  cache_->finish_copies(step_->copies);
  for (const StepItem& item : step_->items) {
    Session& session = *static_cast<Session*>(item.sequence->owner);
    cache_->commit(session.pages, item.num_tokens, session.tokens);
    session.request->scheduled.first_wanted = session.len() - 1;
    coverage_.tokens += static_cast<uint64_t>(item.num_tokens);
    if (session.request->to_generate == 0) end_request(session, End::finished);
  }
}

Slot Engine::slot(int group, PageId page, int index) const {
  const PageLayout& layout = shape_.groups[group].layout;
  return {cache_->pages(group) + static_cast<uint64_t>(page) * layout.page_bytes, layout.page_bytes,
          layout.page_len, index};
}

void Engine::make_copies() {
  for (const PageCopy& copy : step_->copies) {
    const uint64_t page_bytes = shape_.groups[copy.group].layout.page_bytes;
    std::byte* to = cache_->pages(copy.group) + static_cast<uint64_t>(copy.to) * page_bytes;
    if (copy.from == kNoPage) {
      std::memset(to, 0, page_bytes);
    } else {
      std::memcpy(to, cache_->pages(copy.group) + static_cast<uint64_t>(copy.from) * page_bytes,
                  page_bytes);
    }
  }
}

void Engine::compute() {
  const int page_len = cache_->page_len();
  for (const StepItem& item : step_->items) {
    Session& session = *static_cast<Session*>(item.sequence->owner);
    check_may_write(*this, session, item.num_tokens);
    check_readable(*this, session);
    const int end = session.pages.num_tokens + item.num_tokens;
    for (int position = session.pages.num_tokens; position < end; ++position) {
      for (int g = 0; g < static_cast<int>(shape_.groups.size()); ++g) {
        const PageId page = session.pages.tables[g][position / page_len];
        slot(g, page, position % page_len)
            .write(slot_value(session.prefixes[position + 1], g, session.owner));
      }
    }
    Request& request = *session.request;
    if (end < session.len()) continue;
    session.append(static_cast<TokenId>(session.prefixes.back() >> 7 & 1));
    request.scheduled.num_known = session.len();
    --request.to_generate;
  }
}

void Engine::end_request(Session& session, End end) {
  trace_.add('e', {session.place, static_cast<int64_t>(end), session.len()});
  switch (end) {
    case End::finished: ++coverage_.finished; break;
    case End::cancelled: ++coverage_.cancelled; break;
    case End::expired: ++coverage_.expired; break;
    case End::exhausted: ++coverage_.exhausted; break;
  }
  const std::unique_ptr<Request> request = std::move(session.request);
  scheduler_->remove(request->scheduled);
  truncate(session, request->rolls_back ? request->len_before : session.len());
  session.last_used = ++num_used_;
  if (session.is_abandoned) {
    cache_->park(session.pages);
    sessions_[session.place].reset();
  } else {
    cache_->mark_boundary(session.pages);
  }
}

void Engine::reap() {
  for (const auto& session : sessions_) {
    if (!session || !session->request) continue;
    const Request& request = *session->request;
    const int64_t deadline_us = request.scheduled.deadline_us;
    if (request.is_cancelled) {
      end_request(*session, End::cancelled);
    } else if (deadline_us != kNever && deadline_us < machine_.clock->now_us()) {
      end_request(*session, End::expired);
    }
  }
}

// The session that was idle longest gives its pages up.
bool Engine::reclaim() {
  Session* oldest = nullptr;
  for (const auto& session : sessions_) {
    if (!session || session->request || session->is_held) continue;
    if (cache_->held_bytes(session->pages) == 0) continue;
    if (oldest == nullptr || session->last_used < oldest->last_used) oldest = session.get();
  }
  if (oldest == nullptr) return false;
  trace_.add('r', {oldest->place});
  cache_->park(oldest->pages);
  return true;
}

void Engine::keep_within_budget() {
  const DevicePages& pages = cache_->prefixes().pages();
  uint64_t excess = pages.excess_bytes();
  if (memory_is_wanted_) excess = std::max(excess, pages.bytes_in_class(PageClass::cached));
  memory_is_wanted_ = false;
  while (excess > 0) {
    if (cache_->prefixes().trim(excess) >= excess) return;
    excess = pages.excess_bytes();
    if (excess == 0) return;
    // What was swapped out is free when its copy has been made: nobody else need go for it.
    if (!reclaim() && (cache_->prefixes().num_moves() > 0 || !scheduler_->preempt_one())) return;
  }
}

}  // namespace kvi::sim
