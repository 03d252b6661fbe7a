// What the engine's steps cost, counted in operations and allocations, never in time: every position is
// projected once, a decoded token takes one row, and a decode step leaves the heap alone.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "support/allocation_watch.h"
#include "support/seed.h"
#include "support/watched_backend.h"

namespace kvi {
namespace {

constexpr int kPromptLen = 100;
constexpr int kChunk = 48;

class EngineStepsTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    LoadOptions load;
    load.backend = std::make_shared<WatchedBackend>(cpu::make_cpu_backend(cpu::best_isa()),
                                                    observer_);
    model_ = LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/" + GetParam(), load);
    EngineOptions options;
    options.max_batch_tokens = kChunk;
    options.num_threads = 2;
    engine_ = Engine::create(model_, options);
  }
  void TearDown() override {
    if (engine_) engine_->close(std::nullopt);
  }

  std::shared_ptr<Session> open_session(int prompt_len) {
    std::shared_ptr<Session> session = engine_->create_session();
    append(*session, prompt_len);
    return session;
  }
  void append(Session& session, int count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) {
      token = static_cast<TokenId>(random_() % model_->config().vocab_size);
    }
    const Part part = std::span<const TokenId>(tokens);
    session.append({&part, 1});
  }
  static GenerateOptions greedy(uint32_t max_tokens) {
    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.sampling.temperature = 0;
    options.ignore_eos = true;
    return options;
  }
  static Usage run(Session& session, const GenerateOptions& options) {
    const std::shared_ptr<Request> request = session.generate(options, nullptr);
    request->await(std::nullopt);
    return request->usage();
  }

  std::mt19937_64 random_{test_seed()};
  StepObserver observer_;
  std::shared_ptr<const LoadedModel> model_;
  std::shared_ptr<Engine> engine_;
};

// Rows that were projected: of which layer, at which position, how often.
class Projections {
 public:
  void add(const BatchRows& batch, const KvSegment& kv) {
    for (int32_t position : batch.positions) ++counts_[{kv.key, position}];
    num_rows_ += batch.num_rows;
  }
  void expect_each_once(int num_layers, int num_positions) const {
    EXPECT_EQ(num_rows_, int64_t{num_layers} * num_positions);
    EXPECT_EQ(counts_.size(), static_cast<size_t>(num_layers) * num_positions);
    for (const auto& [place, count] : counts_) {
      EXPECT_EQ(count, 1) << "position " << place.second;
      EXPECT_LT(place.second, num_positions);
    }
  }

 private:
  std::map<std::pair<const Plane*, int32_t>, int> counts_;
  int64_t num_rows_ = 0;
};

TEST_P(EngineStepsTest, EveryKAndVIsProjectedOnceInPrefillAndDecode) {
  Projections projections;
  const Plane* first_layer = nullptr;
  std::vector<int> rows_of_step;
  observer_.on_project_kv = [&](const BatchRows& batch, const KvSegment& kv) {
    projections.add(batch, kv);
    if (first_layer == nullptr) first_layer = kv.key;
    if (kv.key == first_layer) rows_of_step.push_back(batch.num_rows);
  };
  std::shared_ptr<Session> session = open_session(kPromptLen);
  EXPECT_EQ(run(*session, greedy(60)).generated_tokens, 60u);
  engine_->close(std::nullopt);  // the observer is ours again

  // The last generated token is known, not computed.
  projections.expect_each_once(model_->config().num_layers, kPromptLen + 59);
  std::vector<int> expected = {kChunk, kChunk, kPromptLen - 2 * kChunk};
  expected.resize(3 + 59, 1);
  EXPECT_EQ(rows_of_step, expected);
}

TEST_P(EngineStepsTest, GoingOnComputesOnlyWhatIsNew) {
  std::shared_ptr<Session> session = open_session(kPromptLen);
  run(*session, greedy(20));
  int64_t num_rows = 0;
  observer_.on_project_kv = [&](const BatchRows& batch, const KvSegment&) {
    num_rows += batch.num_rows;
  };
  append(*session, 30);
  EXPECT_EQ(run(*session, greedy(10)).cached_tokens, static_cast<uint32_t>(kPromptLen + 19));
  // The last token of the first answer, the 30 new ones, and 9 of the 10 that were generated.
  EXPECT_EQ(num_rows, int64_t{model_->config().num_layers} * (1 + 30 + 9));
}

// From one call of head to the next lies all that a step does: sampling, text, commit, schedule, prepare
// and the layers. Lists of what was generated double now and then, here at 80, 128 and 160 tokens.
TEST_P(EngineStepsTest, DecodeStepsAllocateNothing) {
#ifdef KVINFER_CHECK_INVARIANTS
  GTEST_SKIP() << "this build checks invariants after every step, which allocates";
#endif
  constexpr int kPageLen = 16;
  constexpr int kPrompt = 40, kFirst = 66, kEnd = 118;  // of the generated tokens
  run(*open_session(kPrompt), greedy(kEnd));            // the pool knows as many pages now
  for (const int top_logprobs : {-1, 0}) {
    std::shared_ptr<Session> session = open_session(kPrompt);
    const int prompt_len = static_cast<int>(session->info().num_tokens);
    std::atomic<Request*> reading{nullptr};
    std::vector<uint64_t> seen;
    seen.reserve(kEnd);
    observer_.on_head = [&](std::span<const int32_t>) {
      while (reading.load() == nullptr) std::this_thread::yield();
      char text[256];  // read at once, so that it does not pile up
      reading.load()->read(text, nullptr);
      seen.push_back(num_allocations());
    };
    GenerateOptions options = greedy(kEnd);
    options.top_logprobs = top_logprobs;
    const std::shared_ptr<Request> request = session->generate(options, nullptr);
    reading.store(request.get());
    request->await(std::nullopt);
    ASSERT_EQ(seen.size(), static_cast<size_t>(kEnd));
    for (int i = kFirst; i + 1 < kEnd; ++i) {
      // A page that is full goes into the prefix index, which may grow.
      if ((prompt_len + i) % kPageLen == 0) continue;
      EXPECT_EQ(seen[i + 1] - seen[i], 0u) << "step " << i << ", top_logprobs " << top_logprobs;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EngineStepsTest,
                         testing::Values("llama-q4_1.gguf", "gemma3-q4_k_m.gguf", "gpt2-f32.gguf"));

}  // namespace
}  // namespace kvi
