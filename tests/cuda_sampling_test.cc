// Sampling on the GPU against the probabilities in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "backend/backend.h"
#include "cuda/sampling.h"
#include "support/cuda_kernel_fixture.h"

namespace kvi::cuda {
namespace {

constexpr double kMargin = 1e-5;  // of a probability: the GPU's exponentials are in f32

struct Case {
  SampleRow row;
  std::vector<float> logits;
  std::vector<kvi::LogitEdit> edits;
};

// What is left of a distribution, and where its tokens begin in it, in id order.
struct Distribution {
  struct Part {
    int token;
    double begin, end;  // of probability 1
    bool is_sure;       // false: a rounding may decide whether it is in at all
  };
  std::vector<Part> parts;
};

Distribution distribution_of(const Case& one) {
  std::vector<float> logits = one.logits;
  for (const kvi::LogitEdit& edit : one.edits) {
    logits[edit.token] = edited(logits[edit.token], edit);
  }
  struct Ranked {
    int token;
    double weight;
    bool is_sure = true;
  };
  std::vector<Ranked> ranked;
  float largest = -INFINITY;
  for (float logit : logits) {
    if (logit > largest) largest = logit;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) continue;
    const double difference = logits[i] == largest ? 0 : double{logits[i]} - largest;
    ranked.push_back({static_cast<int>(i), std::exp(difference / one.row.temperature)});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](const Ranked& a, const Ranked& b) {
    return logits[a.token] > logits[b.token];
  });
  if (one.row.top_k > 0) ranked.resize(std::min<size_t>(ranked.size(), one.row.top_k));
  double total = 0, mass = 0;
  for (const Ranked& r : ranked) total += r.weight;
  Distribution result;
  std::vector<Ranked> kept;
  for (Ranked& r : ranked) {
    const double wanted = one.row.top_p * total;
    const bool first = kept.empty();
    if (!first && (mass > wanted + kMargin * total || r.weight < one.row.min_p * (1 - kMargin))) {
      break;
    }
    r.is_sure = first ||
                (mass < wanted - kMargin * total && r.weight > one.row.min_p * (1 + kMargin));
    mass += r.weight;
    kept.push_back(r);
  }
  std::sort(kept.begin(), kept.end(),
            [](const Ranked& a, const Ranked& b) { return a.token < b.token; });
  double sum = 0, at = 0;
  for (const Ranked& r : kept) sum += r.weight;
  for (const Ranked& r : kept) {
    result.parts.push_back({r.token, at / sum, (at + r.weight) / sum, r.is_sure});
    at += r.weight;
  }
  return result;
}

class CudaSamplingTest : public CudaKernelTest {
 protected:
  std::vector<int> choose(const std::vector<Case>& cases) {
    const int vocab_size = static_cast<int>(cases[0].logits.size());
    std::vector<float> logits;
    std::vector<SampleRow> rows;
    std::vector<kvi::LogitEdit> edits(1);
    for (const Case& one : cases) {
      SampleRow row = one.row;
      row.first_edit = static_cast<int>(edits.size());
      row.num_edits = static_cast<int>(one.edits.size());
      rows.push_back(row);
      edits.insert(edits.end(), one.edits.begin(), one.edits.end());
      logits.insert(logits.end(), one.logits.begin(), one.logits.end());
    }
    const auto on_device = upload(logits);
    const auto device_rows = upload(rows);
    const auto device_edits = upload(edits);
    const auto tokens = upload(std::vector<int32_t>(cases.size(), -77));
    kernels_->launch(Kernel::sample,
                     {.x = static_cast<uint32_t>(cases.size()),
                      .num_threads = kSampleThreads,
                      .shared_bytes = kSampleSharedBytes},
                     SampleParams{on_device.data(), device_rows.data(),
                                  reinterpret_cast<const SampleEdit*>(device_edits.data()),
                                  tokens.data(), vocab_size});
    download(on_device);
    return download(tokens);
  }

  void expect_right(const std::vector<Case>& cases) {
    const std::vector<int> tokens = choose(cases);
    EXPECT_EQ(choose(cases), tokens) << "the same again";
    for (size_t i = 0; i < cases.size(); ++i) {
      const Distribution distribution = distribution_of(cases[i]);
      const bool has_unsure = std::any_of(distribution.parts.begin(), distribution.parts.end(),
                                          [](const auto& part) { return !part.is_sure; });
      const auto part = std::find_if(distribution.parts.begin(), distribution.parts.end(),
                                     [&](const auto& p) { return p.token == tokens[i]; });
      ASSERT_NE(part, distribution.parts.end())
          << "case " << i << ": token " << tokens[i] << " is not among the candidates";
      if (has_unsure) continue;  // the others' places depend on it
      EXPECT_LE(part->begin, cases[i].row.unit + kMargin) << "case " << i;
      EXPECT_GE(part->end, cases[i].row.unit - kMargin) << "case " << i;
    }
  }

  std::vector<float> logits_of(int vocab_size, float deviation) {
    std::vector<float> logits = random_values(static_cast<size_t>(vocab_size), deviation);
    for (int i = 0; i < vocab_size; i += 97) logits[static_cast<size_t>(i)] = std::round(logits[i]);
    return logits;
  }
};

TEST_F(CudaSamplingTest, TheDrawnTokenIsThatOfItsRandomNumber) {
  std::uniform_real_distribution<double> unit(0, 1);
  for (int vocab_size : {1, 31, 1000, 32000, 128256}) {
    for (float deviation : {0.05f, 1.0f, 6.0f}) {
      std::vector<Case> cases;
      for (const auto& [temperature, top_k, top_p, min_p] : {std::tuple{1.0f, 0, 1.0f, 0.0f},
                                                             {0.8f, 40, 0.95f, 0.05f},
                                                             {1.5f, 0, 0.9f, 0.0f},
                                                             {1.0f, 1, 1.0f, 0.0f},
                                                             {0.7f, 5000, 0.99f, 0.0f},
                                                             {1.0f, 0, 1.0f, 0.2f},
                                                             {2.0f, 3, 0.5f, 0.0f},
                                                             {1.0f, 0, 0.0f, 0.0f}}) {
        Case one;
        one.logits = logits_of(vocab_size, deviation);
        one.row = {unit(random_), temperature, top_p, min_p, top_k, 0, 0};
        cases.push_back(one);
        one.row.unit = 0;
        cases.push_back(one);
        one.row.unit = std::nextafter(1.0, 0.0);
        cases.push_back(one);
      }
      SCOPED_TRACE(testing::Message() << vocab_size << " tokens, deviation " << deviation);
      expect_right(cases);
    }
  }
}

TEST_F(CudaSamplingTest, TiesGoToTheLowerIds) {
  Case one;
  one.logits.assign(5000, 1.0f);
  one.logits[17] = -INFINITY;
  one.logits[4000] = one.logits[300] = 2.0f;
  one.row = {0.5, 0.0f, 1.0f, 0.0f, 0, 0, 0};
  EXPECT_EQ(choose({one}), std::vector<int>{300});
  one.row.temperature = 1;
  for (const auto& [top_k, last] : {std::pair{1, 300}, {2, 4000}, {4, 4000}}) {
    one.row.top_k = top_k;
    one.row.unit = std::nextafter(1.0, 0.0);
    EXPECT_EQ(choose({one}), std::vector<int>{last}) << top_k;
  }
  one.row.unit = 0;  // of the four kept ones 0 and 1 are the ties with the lowest ids
  EXPECT_EQ(choose({one}), std::vector<int>{0});
}

TEST_F(CudaSamplingTest, NothingIsChosenWhereNoLogitIsANumber) {
  std::vector<Case> cases(6);
  for (Case& one : cases) {
    one.logits.assign(1000, NAN);
    one.row = {0.3, 0.0f, 1.0f, 0.0f, 0, 0, 0};
  }
  cases[1].row.temperature = 1;
  cases[2].logits[999] = -INFINITY;
  cases[3].logits[12] = -3;
  cases[4].logits[12] = -3;
  cases[4].row.temperature = 1;
  cases[4].row.top_k = 5;
  cases[5].logits[12] = INFINITY;
  cases[5].logits[13] = 5;
  cases[5].row.temperature = 0.5f;
  EXPECT_EQ(choose(cases), (std::vector<int>{-1, -1, -1, 12, 12, 12}));
}

TEST_F(CudaSamplingTest, EditsAreMadeFirst) {
  std::vector<Case> cases;
  for (int i = 0; i < 20; ++i) {
    Case one;
    one.logits = logits_of(3000, 2);
    one.row = {0.05 * i, i % 4 == 0 ? 0.0f : 1.0f, 0.9f, 0.0f, 50, 0, 0};
    for (int token = i; token < 3000; token += 7) {
      one.edits.push_back({token, i % 3 == 0 ? 4.0f : 0.0f, i % 2 == 0 ? 1.3f : 1.0f, 0.25f});
    }
    if (i % 4 != 0) {
      cases.push_back(one);
      continue;
    }
    std::vector<float> logits = one.logits;
    for (const auto& edit : one.edits) logits[edit.token] = edited(logits[edit.token], edit);
    const int best = static_cast<int>(std::max_element(logits.begin(), logits.end()) -
                                      logits.begin());
    EXPECT_EQ(choose({one}), std::vector<int>{best});
  }
  expect_right(cases);
}

}  // namespace
}  // namespace kvi::cuda
