// One thing that happens to the simulated engine, as data: operations are made up front from a seed, and each
// keeps its meaning when others are left out.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace kvi::sim {

constexpr int kNumSessions = 14;

enum class OperationKind : uint8_t {
  schedule,  // begins a step: what it decides is computed now, or by finish_step
  finish_step,
  transfer,  // the worker makes and reports some moves
  open,      // a session, in the place `session`
  submit,    // tokens to a session, to compute and to generate from
  cancel,
  close,
  truncate,
  fork,
  suspend,  // to a tier
  park,
  hold,   // its pages stay, whoever wants them; or not any more
  evict,  // a prefix of the session
  keep,   // its prefix by preference
  set_budget,
  trim,
  rival,    // another engine takes and gives back memory of a shared budget
  advance,  // the clock, a little
  fault,
  heal,  // what is broken works again
  count
};

enum class FaultKind : uint8_t {
  memory,    // the system refuses
  io,        // a call of the file system fails
  partial,   // a read or write does a part
  torn,      // a write stops in the middle, and nothing works afterwards
  flip,      // one bit
  full,      // the disk
  vanish,    // the folder
  slow,      // a call takes a minute
  reorder,   // transfers, also of one slot
  transfer,  // a move fails, and leaves garbage
  clock,     // steps back an hour or on by ten years
  crash,     // and restart: the disk survives
  count
};
constexpr int kNumFaultKinds = static_cast<int>(FaultKind::count);
constexpr std::array<std::string_view, kNumFaultKinds> kFaultNames = {
    "memory", "io",   "partial", "torn",     "flip",  "full",
    "vanish", "slow", "reorder", "transfer", "clock", "crash"};

class FaultSet {
 public:
  static FaultSet all() {
    FaultSet set;
    set.bits_ = (1u << kNumFaultKinds) - 1;
    return set;
  }
  void insert(FaultKind kind) { bits_ |= 1u << static_cast<int>(kind); }
  bool contains(FaultKind kind) const { return bits_ >> static_cast<int>(kind) & 1; }
  bool empty() const { return bits_ == 0; }

 private:
  uint32_t bits_ = 0;
};

struct Operation {
  int64_t number;  // in the history that it was made for
  OperationKind kind;
  FaultKind fault;
  uint8_t session;
  uint64_t draw;  // the seed of its choices
};

std::vector<Operation> make_operations(uint64_t seed, int64_t count, FaultSet faults);

}  // namespace kvi::sim
