#include "sim/operation.h"

#include <numeric>

#include "sim/draws.h"

namespace kvi::sim {
namespace {

// How often each kind happens, in the order of OperationKind.
constexpr std::array<int, static_cast<size_t>(OperationKind::count)> kWeights = {
    260, 60, 170, 50, 150, 12, 24, 24, 24, 44, 20, 6, 6, 6, 8, 8, 8, 10, 16, 16};
// In the order of FaultKind.
constexpr std::array<int, kNumFaultKinds> kFaultWeights = {30, 12, 10, 4,  10, 6,
                                                           2,  6,  12, 24, 8,  7};

template <size_t n>
size_t choose(const std::array<int, n>& weights, Draws& draws) {
  int left = draws.below(std::accumulate(weights.begin(), weights.end(), 0));
  size_t chosen = 0;
  while (left >= weights[chosen]) left -= weights[chosen++];
  return chosen;
}

}  // namespace

std::vector<Operation> make_operations(uint64_t seed, int64_t count, FaultSet faults) {
  Draws draws(random_bits(seed, 1));
  std::array<int, kNumFaultKinds> fault_weights = kFaultWeights;
  for (int kind = 0; kind < kNumFaultKinds; ++kind) {
    if (!faults.contains(static_cast<FaultKind>(kind))) fault_weights[kind] = 0;
  }
  std::vector<Operation> operations;
  for (int64_t number = 0; number < count; ++number) {
    Operation operation = {.number = number,
                           .kind = static_cast<OperationKind>(choose(kWeights, draws)),
                           .fault = FaultKind::count,
                           .session = static_cast<uint8_t>(draws.below(kNumSessions)),
                           .draw = draws.bits()};
    if (operation.kind == OperationKind::fault) {
      if (faults.empty()) {
        operation.kind = OperationKind::schedule;
      } else {
        operation.fault = static_cast<FaultKind>(choose(fault_weights, draws));
      }
    }
    operations.push_back(operation);
  }
  return operations;
}

}  // namespace kvi::sim
