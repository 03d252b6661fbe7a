#include "engine/engine_core.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"
#include "engine/cache_setup.h"
#include "engine/engine_shape.h"
#include "engine/validate.h"

namespace kvi {
namespace {

constexpr std::chrono::milliseconds kPauseAfterFailure{100};
constexpr std::chrono::milliseconds kShortWait{1};
constexpr int kMostStepsWithoutItems = 1000;
constexpr int kMostDispatchFailures = 50;

}  // namespace

EngineCore::EngineCore(std::shared_ptr<const LoadedModel> model, const EngineOptions& options)
    : model_(std::move(model)),
      options_(options),
      max_model_len_(resolved_model_len(model_->config(), options)),
      numerics_(numerics_id(*model_, options)),
      log_(options.log) {
  model_->weights();  // throws where they were not loaded
  const ModelConfig& config = model_->config();
  Backend& backend = model_->backend();
  GroupedLayers grouped = group_layers(config, backend, static_cast<int>(options.page_len));
  group_of_layer_ = grouped.group_of_layer;
  const auto reserve_pages = [&](uint64_t bytes) { return backend.reserve_pages(bytes); };
  CacheOptions cache_options = cache_options_for(*model_, options, grouped.groups);
  stores_ = {cache_options.host, cache_options.disk};
  disk_missing_ = cache_options.disk_missing;
  foreign_pages_ = cache_options.foreign;
  cache_ = std::make_unique<CacheManager>(std::move(grouped.groups), cache_options, reserve_pages);
  scheduler_ = std::make_unique<Scheduler>(
      *cache_,
      SchedulerLimits{.max_batch_tokens = static_cast<int>(options.max_batch_tokens),
                      .max_sequences = static_cast<int>(options.max_sequences),
                      .max_queued = static_cast<int>(options.max_queued)},
      [this] { return reclaim_idle_session(); });
  placement_.group_of_layer = group_of_layer_;
  for (size_t g = 0; g < cache_->groups().size(); ++g) {
    const LayerGroup& group = cache_->groups()[g];
    placement_.groups.push_back({&group.layout, cache_->pages(static_cast<int>(g)), group.window});
  }
  const ExecutorShape shape = executor_shape(config, options);
  executor_ = backend.make_executor(shape, executor_options(options));
  max_logit_rows_ = shape.max_logit_rows;
  logits_.resize(static_cast<size_t>(shape.max_logit_rows) * static_cast<size_t>(shape.vocab_size));
  stats_.kv_budget_bytes = options.kv_budget_bytes;
  stats_.scratch_bytes = executor_->scratch_bytes() + logits_bytes(shape);
  stats_.weights_bytes = model_->weights_bytes();
  metrics_ = std::make_shared<Metrics>(cache_->groups().size());
  show_gauges();
  start_worker();
  // Last: a constructor that throws leaves nobody to take the member back.
  if (options.shared_budget) {
    budget_member_ = options.shared_budget->add_member([this] {
      memory_wanted_.store(true);
      work_.notify_all();
    });
    cache_->prefixes().pages().set_member(budget_member_);
  }
}

EngineCore::~EngineCore() {
  if (options_.shared_budget) options_.shared_budget->remove_member(budget_member_);
}

void EngineCore::stop() {
  std::lock_guard lock(mutex_);
  stopping_.store(true);
  work_.notify_all();
}

bool EngineCore::wait_ended(std::optional<std::chrono::milliseconds> timeout) {
  std::unique_lock lock(mutex_);
  if (timeout) return ended_.wait_for(lock, *timeout, [&] { return has_ended_; });
  ended_.wait(lock, [&] { return has_ended_; });
  return true;
}

void EngineCore::check_open() const {
  if (is_stopped()) throw Error(Status::CLOSED, "the engine has been closed");
}

// ---- users' threads ----

std::shared_ptr<SequenceState> EngineCore::create_sequence(const SessionOptions& options) {
  check_open();
  auto sequence = std::make_shared<SequenceState>(options);
  std::lock_guard lock(mutex_);
  reserve_more(sequences_, 1);
  sequence->pages = cache_->make_sequence(
      options.is_shared ? kSharedScopeId : cache_->prefixes().scope_of_tenant(options.tenant));
  sequence->pages.reads_shared = options.reads_shared;
  sequence->pages.is_indexed = options.caches && options_.prefix_caching;
  sequences_.push_back(sequence);
  ++stats_.num_sessions;
  show_gauges();
  return sequence;
}

std::shared_ptr<SequenceState> EngineCore::fork(const SequenceState& sequence) {
  check_open();
  auto copy = std::make_shared<SequenceState>(sequence.options);
  copy->tokens = sequence.tokens;
  copy->num_tokens.store(sequence.num_tokens.load());
  std::lock_guard lock(mutex_);
  reserve_more(sequences_, 1);
  copy->pages = cache_->fork(sequence.pages);
  sequences_.push_back(copy);
  ++stats_.num_sessions;
  show_gauges();
  return copy;
}

void EngineCore::truncate(SequenceState& sequence, uint32_t num_tokens) {
  std::lock_guard lock(mutex_);
  change_pages(sequence, num_tokens);
  show_gauges();
}

void EngineCore::change_pages(SequenceState& sequence, uint32_t num_tokens) {
  sequence.tokens.resize(std::min<size_t>(sequence.tokens.size(), num_tokens));
  sequence.num_tokens.store(static_cast<uint32_t>(sequence.tokens.size()));
  cache_->truncate(sequence.pages, static_cast<int>(sequence.tokens.size()));
}

void EngineCore::abandon(SequenceState& sequence) {
  std::lock_guard lock(mutex_);
  --stats_.num_sessions;
  std::erase_if(sequences_, [&](const std::weak_ptr<SequenceState>& other) {
    const std::shared_ptr<SequenceState> one = other.lock();
    return one == nullptr || one.get() == &sequence;
  });
  if (sequence.owner.load() == SequenceOwner::request) {
    sequence.abandoned = true;
    if (sequence.request) sequence.request->cancel(CancelMode::keep);
  } else {
    cache_->park(sequence.pages);
    work_.notify_all();
  }
  show_gauges();
}

void EngineCore::describe(const SequenceState& sequence, SessionInfo& info) const {
  std::lock_guard lock(mutex_);
  info.kv_bytes = cache_->held_bytes(sequence.pages);
  info.num_computed_tokens = static_cast<uint32_t>(sequence.pages.num_tokens);
  info.suspended = !sequence.pages.pinned.empty();
}

std::shared_ptr<Request> EngineCore::running_request(const SequenceState& sequence) const {
  std::lock_guard lock(mutex_);
  return sequence.request;
}

EngineStats EngineCore::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.num_running = static_cast<uint32_t>(scheduler_->num_running());
  stats.num_queued = static_cast<uint32_t>(scheduler_->num_waiting());
  stats.kv_used_bytes = cache_->used_bytes();
  stats.kv_peak_bytes = cache_->peak_bytes();
  return stats;
}

void EngineCore::submit(const std::shared_ptr<Job>& job, std::shared_ptr<Request> request) {
  std::lock_guard lock(mutex_);
  check_open();
  SequenceState& sequence = job->sequence();
  SchedSequence& scheduled = job->scheduled();
  scheduled.pages = &sequence.pages;
  scheduled.num_known = static_cast<int>(sequence.tokens.size());
  scheduled.max_len = scheduled.num_known;
  if (request) {
    const uint64_t end = sequence.tokens.size() + uint64_t{request->options().max_tokens};
    scheduled.max_len = static_cast<int>(std::min<uint64_t>(end, max_model_len_));
  }
  scheduled.tokens = &sequence.tokens;
  scheduled.first_wanted = job->next_logit_position();
  scheduled.priority = request ? request->options().priority.value_or(sequence.options.priority)
                               : sequence.options.priority;
  if (request && request->options().timeout_ms) {
    scheduled.deadline_us = clock_->now_us() + int64_t{*request->options().timeout_ms} * 1000;
  }
  scheduled.owner = job.get();
  // The last token's logits are wanted: where it was computed before, it is computed again.
  cache_->truncate(sequence.pages, job->next_logit_position());
  if (bytes_alone(scheduled) > cache_->budget_bytes()) {
    metrics_->request_refused(Refusal::never_fits);
    throw never_fits_error(scheduled);
  }
  reserve_more(jobs_, 1);
  if (!scheduler_->enqueue(scheduled)) {
    metrics_->request_refused(Refusal::queue_full);
    throw Error(Status::EXHAUSTED,
                concat("the engine's queue is full (max_queued is ", options_.max_queued, ")"))
        .amounts(uint64_t{options_.max_queued} + 1, options_.max_queued)
        .retryable();
  }
  if (jobs_.empty()) short_since_us_.reset();  // what others lacked before is not its shortage
  job->submitted_us = clock_->now_us();
  jobs_.push_back(job);
  sequence.request = std::move(request);
  sequence.owner.store(SequenceOwner::request);
  tell_change();
}

// ---- the engine's thread ----

void EngineCore::run() {
  thread_id_.store(std::this_thread::get_id());
  std::unique_lock lock(mutex_);
  while (!stopping_.load()) {
    std::optional<Error> failure;
    try {
      run_steps(lock);
    } catch (...) {
      failure = error_of_step();
    }
    if (!lock.owns_lock()) lock.lock();
    if (failure) end_started(lock, *failure);
  }
  while (!jobs_.empty()) end_job(*jobs_.back(), Finish::cancelled);
  while (!pins_.empty()) let_go(*pins_.back());
  log_warnings(lock);
  finish_stores(lock);
  lock.unlock();
  worker_.reset();  // its last report needs the mutex
  for (const auto& store : stores_) {
    if (store) store->end();
  }
  lock.lock();
  log_warnings(lock);
  news_->close();
  has_ended_ = true;
  ended_.notify_all();
}

// Requires: called while an exception is handled.
Error EngineCore::error_of_step() const noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return out_of_memory_;
  } catch (const std::exception& error) {
    std::optional<Error> told;
    try_to([&] { told = Error(Status::INTERNAL, concat("a step failed: ", error.what())); });
    return told.value_or(out_of_memory_);
  }
}

// The copies of one step. In flight from the schedule on, they are made and reported whatever becomes of the step.
class EngineCore::Copies {
 public:
  Copies(EngineCore& core, const std::vector<PageCopy>& copies, std::unique_lock<std::mutex>& lock)
      : core_(core), copies_(copies), lock_(lock) {}
  ~Copies() {
    if (finished_) return;
    if (!made_) make();
    if (!lock_.owns_lock()) lock_.lock();
    finish();
  }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;

  void make() {
    core_.make_copies(copies_);
    made_ = true;
  }
  void finish() {
    core_.cache_->finish_copies(copies_);
    finished_ = true;
  }

 private:
  EngineCore& core_;
  const std::vector<PageCopy>& copies_;
  std::unique_lock<std::mutex>& lock_;
  bool made_ = false, finished_ = false;
};

void EngineCore::run_steps(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    log_warnings(lock);  // lets go of the mutex: whether to go on is asked afterwards
    if (stopping_.load()) return;
    reap_interrupted();
    const int64_t next_expiry = expire_pins();
    end_prefetches();
    keep_within_budget();
    // Also of a step whose making fails halfway.
    Copies copies(*this, scheduler_->step().copies, lock);
    const Step& step = scheduler_->schedule();
    dispatch_moves();
    if (step.exhausted != nullptr) {
      if (wait_for_memory(*step.exhausted, lock)) continue;
      end_job(job_of(*step.exhausted), Finish::error, exhausted_error(*step.exhausted));
      continue;
    }
    if (step.items.empty()) {
      copies.make();
      copies.finish();
      if (step.copies.empty()) {
        show_gauges();
        wait_for_work(lock, next_expiry);
      } else {
        go_on_without_items(lock);
      }
      continue;
    }
    short_since_us_.reset();
    num_steps_without_items_ = 0;
    prepare(step);
    lock.unlock();
    copies.make();
    const int64_t start_us = clock_->now_us();
    compute();
    const int64_t took_us = clock_->now_us() - start_us;
    lock.lock();
    copies.finish();
    commit(step);
    note_prefill_rate(batch_.forward.num_rows(), took_us);
  }
}

// Pages were copied for somebody who then found no room. What moves may hold the pages that are wanted; its reports, and
// everybody else, need the mutex. If it goes on like this one request ends, so that the others do not wait for ever.
void EngineCore::go_on_without_items(std::unique_lock<std::mutex>& lock) {
  if (++num_steps_without_items_ > kMostStepsWithoutItems && !jobs_.empty() &&
      cache_->prefixes().num_moves() == 0) {
    num_steps_without_items_ = 0;
    Job& oldest = *jobs_.front();
    return end_job(oldest, Finish::error, exhausted_error(oldest.scheduled()));
  }
  if (num_steps_without_items_ > 1 || cache_->prefixes().num_moves() > 0) {
    work_.wait_for(lock, kShortWait);
  }
}

void EngineCore::wait_for_work(std::unique_lock<std::mutex>& lock, int64_t until_us) {
  // Where there was no memory to dispatch them, it is tried again, but not for ever: somebody waits for them.
  if (worker_ && cache_->prefixes().has_planned_moves()) {
    if (++num_dispatch_failures_ > kMostDispatchFailures) {
      num_dispatch_failures_ = 0;
      throw std::bad_alloc();
    }
    work_.wait_for(lock, kPauseAfterFailure / 10);
    return;
  }
  num_dispatch_failures_ = 0;
  if (until_us == PinnedPrefix::kNever) return work_.wait(lock);
  work_.wait_for(lock,
                 std::chrono::microseconds(std::max<int64_t>(0, until_us - clock_->now_us())));
}

void EngineCore::reap_interrupted() {
  for (size_t i = jobs_.size(); i-- > 0;) {
    if (std::optional<Finish> finish = jobs_[i]->interrupted()) end_job(*jobs_[i], *finish);
  }
}

void EngineCore::prepare(const Step& step) {
  ForwardBatch& forward = batch_.forward;
  forward.clear();
  forward.tables.resize(cache_->groups().size());
  batch_.logit_rows.clear();
  for (const StepItem& item : step.items) {
    Job& job = job_of(*item.sequence);
    SequencePages& pages = *item.sequence->pages;
    const int first = pages.num_tokens;
    if (!job.started) {
      job.started = true;
      // What was loaded may have been lost again, and loaded once more.
      const int from_host = std::min(first, pages.loaded_tokens[0]);
      const int from_disk = std::min(first - from_host, pages.loaded_tokens[1]);
      job.on_start({.total = static_cast<uint32_t>(first),
                    .host = static_cast<uint32_t>(from_host),
                    .disk = static_cast<uint32_t>(from_disk)});
    }
    pages.loaded_tokens = {};
    forward.sequences.push_back({forward.num_rows(), item.num_tokens, first});
    for (int position = first; position < first + item.num_tokens; ++position) {
      if (position >= job.next_logit_position()) {
        batch_.logit_rows.push_back({&job, forward.num_rows(), position});
      }
      forward.token_ids.push_back(job.sequence().tokens[position]);
      forward.positions.push_back(position);
    }
    for (size_t g = 0; g < forward.tables.size(); ++g) forward.tables[g].push_back(pages.tables[g]);
  }
}

void EngineCore::make_copies(std::span<const PageCopy> copies) noexcept {
  for (const PageCopy& copy : copies) {
    const KvGroupPages& group = placement_.groups[copy.group];
    const uint64_t page_bytes = group.layout->page_bytes;
    std::byte* to = group.pages + static_cast<uint64_t>(copy.to) * page_bytes;
    if (copy.from == kNoPage) {
      model_->backend().zero_page(to, page_bytes);
    } else {
      model_->backend().copy_page(to, group.pages + static_cast<uint64_t>(copy.from) * page_bytes,
                                  page_bytes);
    }
  }
}

void EngineCore::compute() {
  forward(model_->weights(), placement_, batch_.forward, *executor_);

  const size_t vocab_size = static_cast<size_t>(model_->config().vocab_size);
  if (executor_->can_choose()) choose_tokens();
  const std::vector<LogitRow>& logit_rows = batch_.logit_rows;
  std::vector<int32_t>& rows = batch_.head_rows;
  for (size_t first = 0; first < logit_rows.size(); first += rows.size()) {
    const size_t count = std::min<size_t>(max_logit_rows_, logit_rows.size() - first);
    rows.clear();
    for (size_t i = 0; i < count; ++i) rows.push_back(logit_rows[first + i].row);
    executor_->head(model_->weights().head(), rows, logits_.data());
    for (size_t i = 0; i < count; ++i) {
      const LogitRow& row = logit_rows[first + i];
      row.job->consume(row.position, std::span(logits_).subspan(i * vocab_size, vocab_size));
    }
  }
}

// On the device, for the rows of which nothing else is wanted; the others are left.
void EngineCore::choose_tokens() {
  const auto choose = [&] {
    batch_.tokens.resize(batch_.choices.size());
    executor_->choose(model_->weights().head(), batch_.choices, batch_.edits, batch_.tokens);
    for (size_t i = 0; i < batch_.choices.size(); ++i) {
      batch_.choosers[i]->consume_chosen(batch_.tokens[i]);
    }
    batch_.choices.clear();
    batch_.choosers.clear();
    batch_.edits.clear();
  };
  // What a step that failed has left.
  batch_.choices.clear();
  batch_.choosers.clear();
  batch_.edits.clear();
  std::vector<LogitRow>& rows = batch_.logit_rows;
  size_t num_left = 0;
  for (const LogitRow& row : rows) {
    std::optional<TokenChoice> choice = row.job->choice(batch_.edits);
    if (!choice) {
      rows[num_left++] = row;
      continue;
    }
    choice->row = row.row;
    batch_.choices.push_back(*choice);
    batch_.choosers.push_back(row.job);
    if (std::ssize(batch_.choices) == max_logit_rows_) choose();
  }
  if (!batch_.choices.empty()) choose();
  rows.resize(num_left);
}

void EngineCore::commit(const Step& step) {
  ++stats_.num_steps;
  metrics_->step_done(static_cast<uint64_t>(batch_.forward.num_rows()));
  for (const StepItem& item : step.items) {
    Job& job = job_of(*item.sequence);
    const int first = item.sequence->pages->num_tokens;
    cache_->commit(*item.sequence->pages, item.num_tokens, *item.sequence->tokens);
    item.sequence->first_wanted = job.next_logit_position();
    const int computed = item.sequence->pages->num_tokens;
    stats_.prefill_tokens += static_cast<uint64_t>(
        std::max(0, std::min(computed, job.prompt_len()) - first));
    stats_.generated_tokens += item.sequence->num_known > std::max(computed, job.prompt_len());
    if (job.finish() != Finish::none) end_job(job, job.finish(), job.failure());
  }
  show_gauges();
#ifdef KVINFER_CHECK_INVARIANTS
  cache_->check_invariants();
#endif
}

// Gives the sequence back before anybody is told, so that whoever awaited the end may go on with it.
void EngineCore::end_job(Job& job, Finish finish, std::optional<Error> error) noexcept {
  const auto place = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const std::shared_ptr<Job>& j) { return j.get() == &job; });
  const std::shared_ptr<Job> keep = *place;
  jobs_.erase(place);
  scheduler_->remove(job.scheduled());
  SequenceState& sequence = job.sequence();
  change_pages(sequence, job.tokens_to_keep(finish));
  sequence.last_used = ++num_requests_;
  if (sequence.abandoned) {
    cache_->park(sequence.pages);
  } else {
    cache_->mark_boundary(sequence.pages);
  }
  sequence.request = nullptr;
  sequence.owner.store(SequenceOwner::nobody);
  ++stats_.requests_finished;
  if (finish == Finish::error) {
    ++stats_.requests_failed;
    try_to([&] { warnings_.push_back(concat("a request failed: ", error->message())); });
  }
  show_gauges();
  job.on_end(finish, std::move(error));
}

// Not under the mutex: the caller's function may release handles.
void EngineCore::log_warnings(std::unique_lock<std::mutex>& lock) {
  while (!warnings_.empty()) {
    const std::vector<std::string> warnings = std::exchange(warnings_, {});
    lock.unlock();
    for (const std::string& warning : warnings) {
      try_to([&] { log_message(log_, LogLevel::warning, warning); });
    }
    lock.lock();
  }
}

// A step failed as a whole: whoever took part ends with its error; who still waits gets its turn.
void EngineCore::end_started(std::unique_lock<std::mutex>& lock, const Error& error) {
  const size_t num_jobs = jobs_.size();
  for (size_t i = jobs_.size(); i-- > 0;) {
    if (jobs_[i]->started) end_job(*jobs_[i], Finish::error, error);
  }
  // Where nobody took part, who waits is at fault: else it would fail again and again.
  if (jobs_.size() == num_jobs) {
    while (!jobs_.empty()) end_job(*jobs_.back(), Finish::error, error);
    work_.wait_for(lock, kPauseAfterFailure);
  }
}

Job& EngineCore::job_of(const SchedSequence& sequence) {
  return *static_cast<Job*>(sequence.owner);
}

}  // namespace kvi
