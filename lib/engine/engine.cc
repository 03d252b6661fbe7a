#include "engine/engine.h"

#include <pthread.h>

#include "base/error.h"
#include "base/text.h"
#include "engine/engine_core.h"
#include "engine/engine_shape.h"
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

std::shared_ptr<Session> Engine::create_session(const SessionOptions& options) {
  return Session::create(core_, options);
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

EnginePlan Engine::plan(const LoadedModel& model, const EngineOptions& options) {
  return plan_engine(model, options);
}

}  // namespace kvi
