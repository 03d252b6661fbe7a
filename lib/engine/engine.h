// An engine as its users hold it: opens sessions, waits, reports, ends.
//
// Thread-safe. Destroying it asks the core to end and returns at once; close() waits for the end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "cache/cache_events.h"
#include "cache/prefix_probe.h"
#include "engine/loaded_model.h"
#include "engine/options.h"
#include "engine/pinned_prefix.h"
#include "engine/scoring.h"
#include "engine/session.h"

namespace kvi {

class EngineCore;

class Engine {
 public:
  // Throws as kvi_engine_create says.
  static std::shared_ptr<Engine> create(std::shared_ptr<const LoadedModel> model,
                                        const EngineOptions& options);
  ~Engine();

  // Ends all work and returns when our last thread has ended. False: not within timeout (it goes on).
  // Throws INVALID_STATE on a thread of the engine.
  bool close(std::optional<std::chrono::milliseconds> timeout);

  const std::shared_ptr<const LoadedModel>& model() const;
  EngineStats stats() const;
  std::shared_ptr<Session> create_session(const SessionOptions& options = {});
  std::string metrics_text() const;
  std::shared_ptr<Session> load_session(SnapshotSource source, const SessionLoadOptions& options,
                                        SessionLoad& result);
  // User handles of requests with news; see RequestNews.
  std::vector<void*> wait(size_t max_count, std::optional<std::chrono::milliseconds> timeout);
  void name_again(const std::shared_ptr<Request>& request);  // to a waiter: output is left to read
  void forget(Request& request);

  // Throws INVALID_STATE on a thread of the engine; what: the call that would wait for itself.
  void check_may_wait(const char* what) const;

  // ---- the cache, as kvinfer.h says ----
  // Blocks until the tokens are computed.
  std::shared_ptr<PinnedPrefix> preload(const std::string& tenant, std::span<const TokenId> tokens,
                                        const PreloadOptions& options);
  std::shared_ptr<PinnedPrefix> pin_cached(const std::string& tenant,
                                           std::span<const TokenId> tokens,
                                           const PinOptions& options);
  PrefixProbe probe(const std::string& tenant, std::span<const TokenId> tokens);
  uint32_t prefetch(const std::string& tenant, std::span<const TokenId> tokens);
  void evict(const std::string& tenant, std::span<const TokenId> tokens);
  void clear_cache(const std::optional<std::string>& tenant);
  std::vector<CacheEvent> take_cache_events(size_t max_count);
  CacheReport cache_report() const;
  void set_budget(uint64_t num_bytes);
  uint64_t trim(uint64_t num_bytes);

  // Blocks. Throws as kvi_score says.
  void score(std::span<const TokenId> tokens, size_t first, const ScoreOutput& out);

 private:
  explicit Engine(std::shared_ptr<EngineCore> core);
  const std::shared_ptr<EngineCore> core_;
  std::mutex close_mutex_;  // of thread_
  std::thread thread_;
};

}  // namespace kvi
