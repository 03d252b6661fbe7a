// The real models against transformers in fp32 on the same weights, through the C ABI:
// teacher-forced on real prompts.
//
// Where the reference's two best tokens are nearly tied, rounding decides; such positions are counted apart.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/sha256.h"
#include "support/golden.h"
#include "support/real_models.h"
#include "support/scoring_model.h"

namespace kvi {
namespace {

const std::string kData = KVINFER_TEST_DATA;

// How far a row of logits lies from the golden's distribution.
struct Comparison {
  bool same_top1 = false;
  double kl = 0;  // nats, over the golden's top tokens and one bin for the rest
};

Comparison compare(const GoldenDistribution& golden, const float* logits, size_t vocab_size) {
  const float* best = std::max_element(logits, logits + vocab_size);
  double sum = 0;
  for (size_t i = 0; i < vocab_size; ++i) sum += std::exp(static_cast<double>(logits[i]) - *best);
  const double log_sum = *best + std::log(sum);

  Comparison result;
  result.same_top1 = best - logits == golden.ids[0];
  double rest = 1;
  for (size_t i = 0; i < golden.ids.size(); ++i) {
    const double logprob = logits[golden.ids[i]] - log_sum;
    result.kl += std::exp(golden.logprobs[i]) * (golden.logprobs[i] - logprob);
    rest -= std::exp(logprob);
  }
  if (golden.rest > 0) result.kl += golden.rest * std::log(golden.rest / std::max(rest, 1e-12));
  return result;
}

struct Agreement {
  double share_apart = 0;  // of the positions whose gap is below min_gap
  double top1 = 0;         // share of the others where the best token is the reference's
  double mean_kl = 0;      // over all positions
};

class RealModelTest : public testing::Test {
 protected:
  static Agreement measure(const char* file_name, const char* golden_name, int32_t activations,
                           float min_gap) {
    const ForwardGoldens goldens = read_forward_goldens(kData + "/goldens/" + golden_name +
                                                        ".forward.bin");
    ScoringModel model(real_model_path(file_name));
    model.create_engine(activations);
    EXPECT_EQ(model.vocab_size(), static_cast<size_t>(goldens.vocab_size));
    int num_positions = 0, num_compared = 0, num_same = 0;
    double kl = 0;
    for (const ForwardGolden& golden : goldens.prompts) {
      const std::vector<float> logits = model.logits(golden.all_tokens(), golden.prompt.size());
      for (size_t i = 0; i < golden.distributions.size(); ++i) {
        const GoldenDistribution& expected = golden.distributions[i];
        const Comparison found = compare(expected, &logits[i * model.vocab_size()],
                                         model.vocab_size());
        ++num_positions;
        kl += found.kl;
        if (expected.top2_gap() < min_gap) continue;
        ++num_compared;
        num_same += found.same_top1;
        if (!found.same_top1) {
          std::printf("%s, position %zu: another best token, gap %.3f, KL %.5f\n",
                      golden.name.c_str(), i, expected.top2_gap(), found.kl);
        }
      }
    }
    const Agreement result = {1 - static_cast<double>(num_compared) / num_positions,
                              static_cast<double>(num_same) / num_compared, kl / num_positions};
    std::printf(
        "%s: %d of %d positions have a gap of %.2f or more; top-1 agrees on %.3f %% of these; "
        "mean KL %.2g\n",
        golden_name, num_compared, num_positions, min_gap, 100 * result.top1, result.mean_kl);
    return result;
  }
};

#define SKIP_WITHOUT(file_name)                 \
  if (!file_exists(real_model_path(file_name))) \
  GTEST_SKIP() << "no " << real_model_path(file_name) << ": tests/fetch_models.sh fetches it"

void expect_exact(const Agreement& agreement) {
  EXPECT_GE(agreement.top1, 0.999);
  EXPECT_LE(agreement.share_apart, 0.20);
  EXPECT_LE(agreement.mean_kl, 0.005);
}

void expect_close(const Agreement& agreement) {
  EXPECT_GE(agreement.top1, 0.995);
  EXPECT_LE(agreement.share_apart, 0.20);
  EXPECT_LE(agreement.mean_kl, 0.005);
}

TEST_F(RealModelTest, SmolLm2OnTheExactPathAgreesWithTheReference) {
  SKIP_WITHOUT(kSmolLm2);
  expect_exact(measure(kSmolLm2, "smollm2", KVI_ACTIVATIONS_F32, 0.02f));
}

TEST_F(RealModelTest, SmolLm2OnTheDefaultPathIsCloseToTheReference) {
  SKIP_WITHOUT(kSmolLm2);
  expect_close(measure(kSmolLm2, "smollm2", KVI_ACTIVATIONS_INT8, 0.25f));
}

TEST_F(RealModelTest, Gemma3OnTheExactPathAgreesWithTheReference) {
  SKIP_WITHOUT(kGemma3);
  expect_exact(measure(kGemma3, "gemma3", KVI_ACTIVATIONS_F32, 0.02f));
}

TEST_F(RealModelTest, Gemma3OnTheDefaultPathIsCloseToTheReference) {
  SKIP_WITHOUT(kGemma3);
  expect_close(measure(kGemma3, "gemma3", KVI_ACTIVATIONS_INT8, 0.25f));
}

TEST_F(RealModelTest, TheGoldensWereMadeFromTheseVeryFiles) {
  for (auto [file_name, golden_name] : {std::pair{kSmolLm2, "smollm2"}, {kGemma3, "gemma3"}}) {
    SKIP_WITHOUT(file_name);
    const File file(real_model_path(file_name));
    Sha256 sha;
    std::vector<std::byte> piece(1 << 20);
    for (uint64_t at = 0; at < file.size(); at += piece.size()) {
      piece.resize(std::min<uint64_t>(piece.size(), file.size() - at));
      file.read_exact(at, piece);
      sha.update(piece);
    }
    EXPECT_EQ(sha.finish(),
              read_forward_goldens(kData + "/goldens/" + golden_name + ".forward.bin").model_sha256)
        << file_name;
  }
}

}  // namespace
}  // namespace kvi
