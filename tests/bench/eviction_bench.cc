// Time of one insert, hit, idle and evict cycle of each eviction policy, at 10^3 to 10^6 cached pages: it must stay
// flat but for the processor's caches.
//   eviction_bench [--benchmark_filter=cost]
#include <benchmark/benchmark.h>

#include "base/random.h"
#include "cache/eviction.h"

namespace {

void evict_cycle(benchmark::State& state, const char* name) {
  const auto num_entries = static_cast<kvi::EntryId>(state.range(0));
  const auto policy = kvi::make_eviction_policy(name);
  uint64_t counter = 0;
  const auto next_entry = [&] {
    // A third of what is inserted was there before.
    const uint64_t content = kvi::random_bits(1, counter++) % (3 * uint64_t(num_entries));
    return kvi::EvictionEntry{kvi::random_bits(2, content), static_cast<int>(content % 4096),
                              1 << 16};
  };
  for (kvi::EntryId id = 0; id < num_entries; ++id) {
    policy->insert(id, next_entry());
    policy->set_idle(id);
  }
  const auto cycle = [&] {
    const kvi::EntryId id = policy->victim();
    policy->erase(id);
    policy->insert(id, next_entry());
    policy->set_idle(id);
    const auto found = static_cast<kvi::EntryId>(kvi::random_bits(3, counter) % num_entries);
    policy->hit(found);
    policy->set_busy(found);
    policy->set_idle(found);
  };
  for (kvi::EntryId i = 0; i < num_entries; ++i) cycle();  // until ghosts and classes are filled
  for (auto _ : state) cycle();
}

}  // namespace

int main(int argc, char** argv) {
  for (const kvi::EvictionPolicyName& policy : kvi::eviction_policies()) {
    benchmark::RegisterBenchmark(policy.name, evict_cycle, policy.name)
        ->RangeMultiplier(10)
        ->Range(1000, 1000000);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
