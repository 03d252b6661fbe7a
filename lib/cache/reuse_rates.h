// Learns how soon idle pages are used again, by class and age, and what it is worth to keep one.
//
// The rate of a class at an age is its hits there over the time that its pages spent there. Both fade, so that old
// habits are forgotten. A prior fills up few observations, so that the rates go from a formula to what was seen
// as evidence grows: first prior weight / age; then the same shape at the level seen for the class; then
// the shape seen.
//
// The value of keeping a page is the highest ratio, over all times to keep it for, of the probability of a hit
// until then to the expected time that it is kept: a Gittins index. (Hit density as in LHD, Beckmann et al., NSDI 2018,
// but with the best horizon instead of a fixed one, since the turns of a conversation take their time.)
//
// Ages are counted in accesses to pages, in half octaves. Not thread-safe: part of a policy.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace kvi {

class ReuseRates {
 public:
  // prior_weights: by class, such that weight / age is the expected rate.
  explicit ReuseRates(const std::vector<double>& prior_weights);

  void add_hit(int reuse_class, uint32_t age);
  void add_time(int reuse_class, uint32_t age, double time);

  // Learns from what was added for one class; the next call does the next class. fade: what remains of the
  // class's observations since its last turn. prior_hits: what the prior counts as, and the age below which too few
  // pages are at a time to tell the level from.
  void learn_next(double fade, double prior_hits);

  // In hits per access.
  float value(int reuse_class, uint32_t age) const {
    return classes_[reuse_class].value[bucket(age)];
  }
  int num_classes() const { return static_cast<int>(classes_.size()); }

 private:
  static constexpr int kNumBuckets = 66;  // ages below 2^32, and one beyond

  struct Class {
    double prior_weight;
    std::array<double, kNumBuckets> hits{}, time{};
    std::array<float, kNumBuckets> value{};
  };

  static int bucket(uint32_t age);
  static double begin_of(int bucket);  // its lowest age
  static double middle_of(int bucket);
  void learn(Class& learned, double fade, double prior_hits);

  std::vector<Class> classes_;
  int next_ = 0;
};

}  // namespace kvi
