// One simulated machine with an engine and its users: applies operations, and checks after each.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sim/checks.h"
#include "sim/engine.h"
#include "sim/machine.h"

namespace kvi::sim {

enum class Groups : uint8_t { by_seed, full, hybrid, window };

struct WorldOptions {
  Groups groups = Groups::by_seed;
  int page_bytes = 0;    // of the first group; 0: by seed
  int check_every = 64;  // operations between two of the dear checks
  bool verbose = false;  // tells what happens, on stdout
};

class World {
 public:
  World(uint64_t seed, const WorldOptions& options);
  ~World();

  // Both throw Failure, or the core's own Error, where something is wrong.
  void apply(const Operation& operation);
  void finish();  // heals what is broken; all requests come to an end, and all is given back

  std::string trace_hash() { return trace_.hash(); }
  const Coverage& coverage() const { return coverage_; }  // complete after finish
  std::string describe() const;                           // what the seed made of it
  std::string describe_state() const;                     // where the memory is; a line each

 private:
  void check_after(int64_t number);
  void finish_step();
  void schedule();
  void open(int place, Draws& draws);
  void submit(Session& session, Draws& draws);
  void hold(Session& session);
  void evict(const Session& session, Draws& draws);
  void keep(const Session& session, Draws& draws);
  void fork(const Session& session, Draws& draws);
  void set_budget(Draws& draws);
  void use_budget_elsewhere(Draws& draws);
  void inject(FaultKind kind, Draws& draws);
  void inject_on_disk(Fault fault, Draws& draws);
  void heal();
  void crash(Draws& draws);
  TokenId token_at(int text, int position) const;
  template <typename... Parts>
  void tell(const Parts&... parts) const;

  const uint64_t seed_;
  const WorldOptions options_;
  const bool is_steady_;  // what is evicted goes leaf first, without exception
  Shape shape_;
  Trace trace_;
  Coverage coverage_;
  Machine machine_;
  std::unique_ptr<Engine> engine_;
  AccountingCheck accounting_;
  int num_unshared_ = 0;
};

}  // namespace kvi::sim
