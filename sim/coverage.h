// Which paths of the core a simulation went, so that a run can prove that it went them all.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace kvi::sim {

struct Coverage {
  uint64_t steps = 0, tokens = 0, finished = 0, refused_for_size = 0, refused_for_queue = 0;
  uint64_t exhausted = 0, cancelled = 0, expired = 0;
  uint64_t device_hits = 0, host_hits = 0, disk_hits = 0;  // tokens
  uint64_t swapped = 0, recomputed = 0;                    // preemptions
  uint64_t evicted = 0, stored = 0, failed_moves = 0;
  uint64_t suspended = 0, forked = 0, copied = 0, zeroed = 0;
  uint64_t restarts = 0, adopted = 0, torn = 0, refused_commits = 0, disk_failures = 0;

  template <typename Visit>
  static void each(const Visit& visit) {
    using C = Coverage;
    const std::pair<const char*, uint64_t C::*> all[] = {
        {"steps", &C::steps},
        {"tokens computed", &C::tokens},
        {"requests finished", &C::finished},
        {"refused: can never fit", &C::refused_for_size},
        {"refused: queue full", &C::refused_for_queue},
        {"ended: budget used up", &C::exhausted},
        {"cancelled", &C::cancelled},
        {"deadline passed", &C::expired},
        {"tokens hit on the device", &C::device_hits},
        {"tokens hit in host memory", &C::host_hits},
        {"tokens hit on disk", &C::disk_hits},
        {"preempted by swap", &C::swapped},
        {"preempted by recompute", &C::recomputed},
        {"pages evicted", &C::evicted},
        {"bytes stored below", &C::stored},
        {"moves failed", &C::failed_moves},
        {"suspended", &C::suspended},
        {"forked", &C::forked},
        {"pages copied", &C::copied},
        {"pages zeroed", &C::zeroed},
        {"restarts", &C::restarts},
        {"bytes adopted from disk", &C::adopted},
        {"torn writes at a crash", &C::torn},
        {"memory refused", &C::refused_commits},
        {"disk calls failed", &C::disk_failures},
    };
    for (const auto& [name, member] : all) visit(name, member);
  }
  void add(const Coverage& other) {
    each([&](const char*, uint64_t Coverage::*member) { this->*member += other.*member; });
  }
};

}  // namespace kvi::sim
