// What is around the simulated engine and survives it: clock, memory, disk, and a budget shared with others.
//
// Not thread-safe.
#pragma once

#include <memory>

#include "cache/memory_budget.h"
#include "sim/faulty_file_system.h"
#include "sim/manual_clock.h"
#include "sim/memory_file_system.h"
#include "sim/simulated_memory.h"

namespace kvi::sim {

inline constexpr const char* kDiskFolder = "/cache";

struct Machine {
  explicit Machine(uint64_t seed) : files(std::make_shared<FaultyFileSystem>(disk, seed, clock)) {}

  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<MemoryFaults> memory = std::make_shared<MemoryFaults>();
  std::shared_ptr<MemoryFileSystem> disk = std::make_shared<MemoryFileSystem>();
  std::shared_ptr<FaultyFileSystem> files;
  std::shared_ptr<MemoryBudget> budget;  // nullptr: the engine has the device for itself
  uint64_t rival_bytes = 0;              // that another engine has leased from it
};

}  // namespace kvi::sim
