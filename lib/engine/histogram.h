// Numbers that one side adds to and others read at any time: counters, gauges and histograms.
//
// Relaxed atomics: a reader sees each number whole; different numbers may be of different moments. No
// locks, no allocation.
//
// Thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kvi {

class Counter {
 public:
  void add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

inline constexpr size_t kNumBounds = 18;
using Bounds = std::array<double, kNumBounds>;  // inclusive upper bounds, ascending

// From a millisecond to what a queue can hold back, and from a token to a long context.
inline constexpr Bounds kSecondBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                         1,     2.5,    5,     10,   25,    50,   100, 250,  1000};
inline constexpr Bounds kTokenBounds = {1,     8,     16,    32,     64,     128,
                                        256,   512,   1024,  2048,   4096,   8192,
                                        16384, 32768, 65536, 131072, 262144, 1048576};

struct HistogramSnapshot {
  const Bounds* bounds = nullptr;
  std::array<uint64_t, kNumBounds + 1> counts =
      {};  // by bucket, not cumulative; the last: above all
  double sum = 0;

  uint64_t count() const;
};

class Histogram {
 public:
  explicit Histogram(const Bounds& bounds) : bounds_(bounds) {}

  // What is no number (NaN) is left out.
  void observe(double value) {
    if (value != value) return;
    const auto place = std::lower_bound(bounds_.begin(), bounds_.end(), value);
    sum_.fetch_add(value, std::memory_order_relaxed);
    counts_[static_cast<size_t>(place - bounds_.begin())].fetch_add(1, std::memory_order_relaxed);
  }

  HistogramSnapshot snapshot() const {
    HistogramSnapshot snapshot;
    snapshot.bounds = &bounds_;
    for (size_t i = 0; i < counts_.size(); ++i) {
      snapshot.counts[i] = counts_[i].load(std::memory_order_relaxed);
    }
    snapshot.sum = sum_.load(std::memory_order_relaxed);
    return snapshot;
  }

 private:
  const Bounds& bounds_;  // one of the tables above
  std::array<std::atomic<uint64_t>, kNumBounds + 1> counts_ = {};
  std::atomic<double> sum_{0};
};

inline uint64_t HistogramSnapshot::count() const {
  uint64_t count = 0;
  for (uint64_t in_bucket : counts) count += in_bucket;
  return count;
}

}  // namespace kvi
