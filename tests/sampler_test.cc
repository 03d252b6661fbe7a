#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "support/seed.h"

namespace kvi {
namespace {

std::vector<float> random_logits(std::mt19937_64& random, size_t size) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

SamplingOptions plain(float temperature = 1) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

TEST(SamplerTest, ZeroTemperatureTakesTheLargestAndTheLowerIdOnTies) {
  Sampler sampler(plain(0), {});
  std::vector<float> logits = {1, 5, 2, 5, NAN};
  EXPECT_EQ(sampler.sample(logits, 0), 1);
}

// The whole pipeline in the obvious way, in double.
std::map<TokenId, double> naive_distribution(const std::vector<float>& logits,
                                             const SamplingOptions& options) {
  std::vector<std::pair<double, TokenId>> order;
  for (size_t i = 0; i < logits.size(); ++i) order.push_back({-logits[i], static_cast<TokenId>(i)});
  std::sort(order.begin(), order.end());
  if (options.top_k > 0) order.resize(std::min<size_t>(order.size(), options.top_k));
  std::vector<double> p;
  double total = 0;
  for (auto [negated, id] : order) {
    p.push_back(std::exp((-negated + order[0].first) / options.temperature));
    total += p.back();
  }
  std::map<TokenId, double> kept;
  double mass = 0, kept_total = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (i > 0 && (mass >= options.top_p * total || p[i] < options.min_p * p[0])) break;
    mass += p[i];
    kept[order[i].second] = p[i];
    kept_total += p[i];
  }
  for (auto& [id, value] : kept) value /= kept_total;
  return kept;
}

TEST(SamplerTest, FrequenciesFollowTheFilteredDistribution) {
  std::mt19937_64 random(test_seed());
  for (auto [top_k, top_p, min_p] : {std::tuple{0u, 1.0f, 0.0f},
                                     {5u, 1.0f, 0.0f},
                                     {0u, 0.7f, 0.0f},
                                     {0u, 1.0f, 0.2f},
                                     {8u, 0.9f, 0.05f}}) {
    SamplingOptions options = plain(0.8f);
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    options.seed = random();
    const std::vector<float> logits = random_logits(random, 60);
    const std::map<TokenId, double> expected = naive_distribution(logits, options);
    Sampler sampler(options, {});
    std::map<TokenId, int> counts;
    const int draws = 40000;
    for (int i = 0; i < draws; ++i) {
      std::vector<float> scratch = logits;
      ++counts[*sampler.sample(scratch, i)];
    }
    for (auto [token, count] : counts) EXPECT_TRUE(expected.contains(token)) << token;
    for (auto [token, p] : expected) {
      const double deviation = std::sqrt(p * (1 - p) / draws);
      EXPECT_NEAR(counts[token] / static_cast<double>(draws), p, 6 * deviation + 1e-4) << token;
    }
  }
}

TEST(SamplerTest, SameSeedGivesTheSameChoiceWhateverWasDrawnBefore) {
  std::mt19937_64 random(test_seed());
  SamplingOptions options = plain();
  options.seed = 42;
  const std::vector<float> logits = random_logits(random, 1000);
  Sampler busy(options, {});
  for (int i = 0; i < 17; ++i) {
    std::vector<float> scratch = random_logits(random, 1000);
    busy.sample(scratch, i);
  }
  Sampler fresh(options, {});
  std::vector<float> a = logits, b = logits;
  EXPECT_EQ(busy.sample(a, 17), fresh.sample(b, 17));
}

TEST(SamplerTest, PenaltiesAndBiasesChangeLogitsAsTheirPapersSay) {
  SamplingOptions options = plain(0);
  options.repetition_penalty = 2;
  options.presence_penalty = 0.5f;
  options.frequency_penalty = 0.25f;
  options.biases = {{3, 10.0f}, {0, -INFINITY}};
  const std::vector<TokenId> session = {1, 2};
  Sampler sampler(options, session);
  sampler.add_generated(4);
  sampler.add_generated(4);
  std::vector<float> logits = {100, 6, -6, -8, 9, 1};
  sampler.sample(logits, 0);
  EXPECT_EQ(logits[0], -INFINITY);
  EXPECT_EQ(logits[1], 3);
  EXPECT_EQ(logits[2], -12);
  EXPECT_EQ(logits[3], 2);
  EXPECT_EQ(logits[4], 4.5f - 0.5f - 2 * 0.25f);
  EXPECT_EQ(logits[5], 1);
}

TEST(SamplerTest, MostProbableAreSortedAndNormalised) {
  const std::vector<float> logits = {0, 1, 3, 2, 3};
  const std::vector<TokenLogprob> best = most_probable(logits, 3);
  ASSERT_EQ(best.size(), 3u);
  EXPECT_EQ(best[0].token, 2);
  EXPECT_EQ(best[1].token, 4);
  EXPECT_EQ(best[2].token, 3);
  double total = 0;
  for (float logit : logits) total += std::exp(logit - log_sum_exp(logits));
  EXPECT_NEAR(total, 1, 1e-6);
  EXPECT_NEAR(best[0].logprob, 3 - std::log(1 + std::exp(1) + 2 * std::exp(3) + std::exp(2)), 1e-6);
}

TEST(SamplerTest, WithoutALogitAboveMinusInfinityThereIsNoToken) {
  for (float temperature : {0.0f, 1.0f}) {
    for (float value : {static_cast<float>(NAN), -INFINITY}) {
      std::vector<float> logits(50, value);
      Sampler sampler(plain(temperature), {});
      EXPECT_EQ(sampler.sample(logits, 0), std::nullopt);
      logits[7] = -1e30f;
      EXPECT_EQ(sampler.sample(logits, 0), 7);
    }
    std::vector<float> infinite(50, INFINITY);
    EXPECT_LT(Sampler(plain(temperature), {}).sample(infinite, 0), 50);
  }
}

TEST(SamplerTest, ForbiddenTokensAreNeverDrawn) {
  SamplingOptions options = plain();
  for (TokenId token = 1; token < 8; ++token) options.biases.push_back({token, -INFINITY});
  Sampler sampler(options, {});
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<float> logits = {-50, 9, 9, 9, 9, 9, 9, 9};
    EXPECT_EQ(sampler.sample(logits, i), 0);
  }
}

}  // namespace
}  // namespace kvi
