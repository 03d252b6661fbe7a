// What decoding keeps of its speed beside busy threads of others, which a library in a host must expect.
//
//   foreign_threads [--threads N] [--seconds S] [--rounds N]
//
// Decodes with SmolLM2's shape (random weights) alone, beside one and beside two threads that never
// sleep, in alternation, and prints the median tokens/s of each and its share of the undisturbed one.
// Verifies that every decoded token has the same logits.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "backend/cpu/cpu_backend.h"
#include "base/os_cpu.h"
#include "bench/real_shapes.h"

namespace kvi::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Threads that compute without end, until it is destroyed.
class BusyThreads {
 public:
  explicit BusyThreads(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        volatile uint64_t value = 1;
        while (!stopping_.load(std::memory_order_relaxed)) value = value * 3 + 1;
      });
    }
  }
  ~BusyThreads() {
    stopping_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int bench(int num_threads, double seconds, int rounds) {
  SyntheticConfig config = smollm2_shape();
  config.max_context = 128;
  auto backend = make_cpu_backend(best_isa());
  const SyntheticModel model(*backend, config, 1, false);
  auto executor = backend->make_executor(model.executor_shape(64, 1),
                                         {num_threads, Precision::int8_activations});
  SyntheticRun run(model, *executor, 1);
  run.run_layers({{0, 0, std::vector<int32_t>(64, 7)}});
  const std::vector<float> expected = run.step({{0, 64, {9}}});

  constexpr int kMostBusy = 2;
  std::vector<double> rates[kMostBusy + 1];
  for (int round = 0; round < rounds; ++round) {
    for (int num_busy = 0; num_busy <= kMostBusy; ++num_busy) {
      BusyThreads busy(num_busy);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto start = Clock::now();
      double elapsed = 0;
      int num_tokens = 0;
      for (; elapsed < seconds; ++num_tokens) {
        const std::vector<float> logits = run.step({{0, 64, {9}}});
        if (std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) != 0) {
          std::printf("WRONG: logits differ beside %d busy threads\n", num_busy);
          return 1;
        }
        elapsed = std::chrono::duration<double>(Clock::now() - start).count();
      }
      rates[num_busy].push_back(num_tokens / elapsed);
    }
  }
  for (int num_busy = 0; num_busy <= kMostBusy; ++num_busy) {
    std::printf("%d threads beside %d busy: %.1f tokens/s, %.0f %%\n", num_threads, num_busy,
                median(rates[num_busy]), 100 * median(rates[num_busy]) / median(rates[0]));
  }
  return 0;
}

int usage() {
  std::fprintf(stderr, "usage: foreign_threads [--threads N] [--seconds S] [--rounds N]\n");
  return 2;
}

int main_with(int argc, char** argv) {
  int num_threads = default_num_threads(), rounds = 5;
  double seconds = 1;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    const std::string name = argv[i];
    if (name == "--threads")
      num_threads = std::atoi(argv[i + 1]);
    else if (name == "--seconds")
      seconds = std::atof(argv[i + 1]);
    else if (name == "--rounds")
      rounds = std::atoi(argv[i + 1]);
    else
      return usage();
  }
  return bench(num_threads, seconds, rounds);
}

}  // namespace
}  // namespace kvi::cpu

int main(int argc, char** argv) { return kvi::cpu::main_with(argc, argv); }
