// The runner of the simulator: seeds, operations, and what is told of those that fail.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/operation.h"
#include "sim/world.h"

namespace kvi::sim {

struct SimulateOptions {
  WorldOptions world;
  uint64_t first_seed = 1, last_seed = 1;
  int64_t num_operations = 10'000;
  FaultSet faults = FaultSet::all();
  std::vector<int64_t> kept;  // numbers of operations; empty: all
  bool shrinks = true;
  bool covers = false;  // fails where a path was not gone at all
};

// Prints the results; the last line is `trace HASH` of the last seed. False: something failed.
bool simulate(const SimulateOptions& options);

// All three throw INVALID_ARGUMENT.
int64_t parse_number(const std::string& text);  // not negative
// "3,17,20-25"
std::vector<int64_t> parse_numbers(const std::string& text);
// "none", "all" or names, separated by commas.
FaultSet parse_faults(const std::string& text);

}  // namespace kvi::sim
