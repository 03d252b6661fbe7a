#include "engine/engine.h"

#include <pthread.h>

#include "base/error.h"
#include "base/text.h"
#include "engine/engine_core.h"
#include "engine/metrics_text.h"
#include "engine/scoring.h"
#include "engine/validate.h"

namespace kvi {

std::shared_ptr<Engine> Engine::create(std::shared_ptr<const LoadedModel> model,
                                       const EngineOptions& options) {
  validate(options);
  std::shared_ptr<Engine> engine(
      new Engine(std::make_shared<EngineCore>(std::move(model), options)));
  try {
    // The thread owns the core too: an engine may be destroyed while a step runs.
    engine->thread_ = std::thread([core = engine->core_]() mutable {
      core->run();
      core.reset();
    });
    pthread_setname_np(engine->thread_.native_handle(), "kvi-engine");
  } catch (const std::system_error& error) {
    throw Error(Status::OUT_OF_MEMORY, concat("cannot start the engine's thread: ", error.what()));
  }
  return engine;
}

Engine::Engine(std::shared_ptr<EngineCore> core) : core_(std::move(core)) {}

Engine::~Engine() {
  core_->stop();
  if (thread_.joinable()) thread_.detach();
}

bool Engine::close(std::optional<std::chrono::milliseconds> timeout) {
  check_may_wait("closing the engine");
  core_->stop();
  if (!core_->wait_ended(timeout)) return false;
  std::lock_guard lock(close_mutex_);
  if (thread_.joinable()) thread_.join();
  return true;
}

const std::shared_ptr<const LoadedModel>& Engine::model() const { return core_->shared_model(); }

EngineStats Engine::stats() const { return core_->stats(); }

std::string Engine::metrics_text() const {
  return kvi::metrics_text(core_->metrics()->snapshot(), model()->name());
}

std::shared_ptr<Session> Engine::create_session(const SessionOptions& options) {
  return Session::create(core_, options);
}

std::shared_ptr<Session> Engine::load_session(SnapshotSource source,
                                              const SessionLoadOptions& options,
                                              SessionLoad& result) {
  return Session::load(core_, std::move(source), options, result);
}

std::vector<void*> Engine::wait(size_t max_count,
                                std::optional<std::chrono::milliseconds> timeout) {
  return core_->news()->wait(max_count, timeout);
}

void Engine::name_again(const std::shared_ptr<Request>& request) { core_->news()->post(request); }

void Engine::forget(Request& request) { core_->news()->forget(request); }

void Engine::check_may_wait(const char* what) const {
  if (core_->on_engine_thread()) {
    throw Error(Status::INVALID_STATE,
                concat(what, " in a callback on the engine's own thread would wait for itself"));
  }
}

void Engine::score(std::span<const TokenId> tokens, size_t first, const ScoreOutput& out) {
  check_may_wait("scoring");
  const std::shared_ptr<Session> session = create_session();
  const Part part = tokens;
  session->append({&part, 1});
  session->score(first, out);
}

std::shared_ptr<PinnedPrefix> Engine::preload(const std::string& tenant,
                                              std::span<const TokenId> tokens,
                                              const PreloadOptions& options) {
  check_may_wait("preloading");
  SessionOptions session_options;
  session_options.tenant = tenant;
  session_options.is_shared = options.is_shared;
  const std::shared_ptr<Session> session = create_session(session_options);
  const Part part = tokens;
  session->append({&part, 1});
  GenerateOptions prefill_only;
  prefill_only.max_tokens = 0;
  prefill_only.timeout_ms = options.timeout_ms;
  const std::shared_ptr<Request> request = session->generate(prefill_only, nullptr);
  request->await(std::nullopt);
  const Finish finish = request->usage().finish;
  if (finish == Finish::cancelled) {
    core_->check_open();
    throw Error(Status::TIMEOUT, concat("the prefix was not computed within ",
                                        options.timeout_ms.value_or(0), " ms"))
        .retryable();
  }
  return session->pin(options.pin);
}

std::shared_ptr<PinnedPrefix> Engine::pin_cached(const std::string& tenant,
                                                 std::span<const TokenId> tokens,
                                                 const PinOptions& options) {
  return core_->pin_cached(tenant, tokens, options);
}

PrefixProbe Engine::probe(const std::string& tenant, std::span<const TokenId> tokens) {
  return core_->probe(tenant, tokens);
}

uint32_t Engine::prefetch(const std::string& tenant, std::span<const TokenId> tokens) {
  return core_->prefetch(tenant, tokens);
}

void Engine::evict(const std::string& tenant, std::span<const TokenId> tokens) {
  core_->evict(tenant, tokens);
}

void Engine::clear_cache(const std::optional<std::string>& tenant) { core_->clear(tenant); }

std::vector<CacheEvent> Engine::take_cache_events(size_t max_count) {
  return core_->take_events(max_count);
}

CacheReport Engine::cache_report() const { return core_->cache_report(); }

void Engine::set_budget(uint64_t num_bytes) { core_->set_budget(num_bytes); }

uint64_t Engine::trim(uint64_t num_bytes) { return core_->trim(num_bytes); }

}  // namespace kvi
