#include "cache/reuse_rates.h"

#include <bit>
#include <cmath>

namespace kvi {

ReuseRates::ReuseRates(const std::vector<double>& prior_weights) {
  for (double weight : prior_weights) classes_.push_back({.prior_weight = weight});
  for (Class& unseen : classes_) learn(unseen, 1, 1);
}

void ReuseRates::add_hit(int reuse_class, uint32_t age) {
  ++classes_[reuse_class].hits[bucket(age)];
}

void ReuseRates::add_time(int reuse_class, uint32_t age, double time) {
  classes_[reuse_class].time[bucket(age)] += time;
}

void ReuseRates::learn_next(double fade, double prior_hits) {
  learn(classes_[next_], fade, prior_hits);
  next_ = next_ + 1 < num_classes() ? next_ + 1 : 0;
}

// Bucket b holds the ages a with 2^(b/2) <= a + 1 < 2^((b+1)/2).
int ReuseRates::bucket(uint32_t age) {
  const uint64_t n = uint64_t{age} + 1;
  const int octave = std::bit_width(n) - 1;
  const bool upper_half = octave < 32 && n * n >> (2 * octave + 1) != 0;
  return 2 * octave + (upper_half ? 1 : 0);
}

double ReuseRates::begin_of(int bucket) { return std::exp2(bucket / 2.0) - 1; }
double ReuseRates::middle_of(int bucket) {
  return (begin_of(bucket) + begin_of(bucket + 1)) / 2 + 1;
}

void ReuseRates::learn(Class& learned, double fade, double prior_hits) {
  double hits = prior_hits * learned.prior_weight, octaves = prior_hits;
  for (int b = 0; b < kNumBuckets; ++b) {
    learned.hits[b] *= fade;
    learned.time[b] *= fade;
    if (begin_of(b) < prior_hits)
      continue;  // few are as young at a time, and nothing of that age is evicted
    hits += learned.hits[b];
    octaves += learned.time[b] / middle_of(b);
  }
  const double level = hits / octaves;

  // From the oldest bucket to the youngest. A stretch is a run of buckets through which it is best to keep a page
  // that has come to its first; the ratio of each is higher than that of the next, else they are one.
  struct Stretch {
    double hit, time, passed;  // probability of a hit, expected time, probability of no hit
  };
  std::array<Stretch, kNumBuckets> stretches;
  int depth = 0;
  for (int b = kNumBuckets - 1; b >= 0; --b) {
    const double width = begin_of(b + 1) - begin_of(b);
    const double rate = (learned.hits[b] + prior_hits) /
                        (learned.time[b] + prior_hits * middle_of(b) / level);
    const double expected = rate * width;
    // 1 / (1 + x) for exp(-x): the same for small x, and bounded in the same way.
    const double passed = 1 / (1 + expected);
    Stretch stretch = {.hit = 1 - passed, .time = width * passed, .passed = passed};
    while (depth > 0) {
      const Stretch& next = stretches[depth - 1];
      if (stretch.hit * next.time > next.hit * stretch.time) break;
      stretch.hit += stretch.passed * next.hit;
      stretch.time += stretch.passed * next.time;
      stretch.passed *= next.passed;
      --depth;
    }
    stretches[depth++] = stretch;
    learned.value[b] = static_cast<float>(stretch.hit / stretch.time);
  }
}

}  // namespace kvi
