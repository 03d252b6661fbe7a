// The same tokens, always: however a prefix came to be there (computed, found, forked, preempted, suspended), what
// is generated after it has the same ids and log-probabilities, bit for bit. Each case asserts that its way was gone.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "backend/cuda/cuda_backend.h"
#include "base/error.h"
#include "engine/engine.h"
#include "support/output.h"
#include "support/real_models.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

void expect_same(const Output& got, const Output& expected) {
  EXPECT_EQ(got.tokens, expected.tokens);
  ASSERT_EQ(got.logprobs.size(), expected.logprobs.size());
  EXPECT_EQ(std::memcmp(got.logprobs.data(), expected.logprobs.data(),
                        got.logprobs.size() * sizeof(float)),
            0);
}

struct ModelCase {
  const char* path;
  bool is_real;
  int prompt_len;
  bool is_on_gpu = false;
};
void PrintTo(const ModelCase& model, std::ostream* out) { *out << model.path; }

class SameTokensTest : public testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override {
    const std::string path = GetParam().is_real ? real_model_path(GetParam().path)
                                                : std::string(KVINFER_TEST_DATA) + "/models/tiny/" +
                                                      GetParam().path;
    LoadOptions options;
    if (GetParam().is_on_gpu) {
      std::string why;
      const std::vector<cuda::DeviceDescription> found = cuda::devices(&why);
      if (found.empty() || !found[0].unsupported_reason.empty()) {
        GTEST_SKIP() << (found.empty() ? why : found[0].unsupported_reason);
      }
      options.backend = cuda::make_cuda_backend(0);
    }
    model_ = LoadedModel::open(path, options);
    prompt_ = random_tokens(GetParam().prompt_len);
  }

  std::vector<TokenId> random_tokens(int count) {
    std::vector<TokenId> tokens(static_cast<size_t>(count));
    for (TokenId& token : tokens)
      token = static_cast<TokenId>(random_() % static_cast<uint64_t>(model_->config().vocab_size));
    return tokens;
  }
  EngineOptions engine_options() const {
    EngineOptions options;
    options.max_batch_tokens = 128;
    options.kv_budget_bytes = uint64_t{256} << 20;
    // A GPU's fast kernels round by how many rows there are.
    if (GetParam().is_on_gpu) options.precision = Precision::f32_activations;
    return options;
  }
  std::shared_ptr<Session> session_with(Engine& engine, const std::vector<TokenId>& tokens,
                                        const std::string& tenant = "") {
    SessionOptions options;
    options.tenant = tenant;
    const std::shared_ptr<Session> session = engine.create_session(options);
    append(*session, tokens);
    return session;
  }
  static void append(Session& session, const std::vector<TokenId>& tokens) {
    const Part part = std::span<const TokenId>(tokens);
    session.append({&part, 1});
  }
  static Output generate(Session& session, uint32_t max_tokens = 12) {
    return output_of(*session.generate(sampled(7, max_tokens), nullptr));
  }
  // The tier may have no room: then the session goes on without.
  static void suspend(Session& session) {
    try {
      session.suspend(TierId::host);
    } catch (const Error& error) {
      EXPECT_TRUE(error.is_retryable()) << error.message();
    }
  }
  Output cold(const std::vector<TokenId>& tokens, uint32_t max_tokens = 12) {
    EngineOptions options = engine_options();
    options.prefix_caching = false;
    const Output output = generate(*session_with(*Engine::create(model_, options), tokens),
                                   max_tokens);
    EXPECT_EQ(output.usage.cached_tokens, 0u);
    return output;
  }
  // Bytes that one prompt with its answer takes.
  uint64_t bytes_of_one(uint32_t max_tokens) {
    const std::shared_ptr<Engine> engine = Engine::create(model_, engine_options());
    generate(*session_with(*engine, prompt_), max_tokens);
    return engine->stats().kv_peak_bytes;
  }

  std::mt19937_64 random_{test_seed()};
  std::shared_ptr<const LoadedModel> model_;
  std::vector<TokenId> prompt_;
};

TEST_P(SameTokensTest, FullAndPartialHits) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, engine_options());
  const Output expected = cold(prompt_);
  const Output first = generate(*session_with(*engine, prompt_));
  EXPECT_EQ(first.usage.cached_tokens, 0u);
  expect_same(first, expected);
  const Output hit = generate(*session_with(*engine, prompt_));
  EXPECT_GE(hit.usage.cached_tokens + 1, static_cast<uint32_t>(GetParam().prompt_len));
  expect_same(hit, expected);

  std::vector<TokenId> other(prompt_.begin(), prompt_.begin() + GetParam().prompt_len / 2 + 5);
  const std::vector<TokenId> rest = random_tokens(30);
  other.insert(other.end(), rest.begin(), rest.end());
  const Output partial = generate(*session_with(*engine, other));
  EXPECT_GE(partial.usage.cached_tokens + 16, static_cast<uint32_t>(GetParam().prompt_len / 2));
  expect_same(partial, cold(other));

  const Output stranger = generate(*session_with(*engine, prompt_, "somebody else"));
  EXPECT_EQ(stranger.usage.cached_tokens, 0u);
  expect_same(stranger, expected);
}

TEST_P(SameTokensTest, Forks) {
  const std::shared_ptr<Engine> engine = Engine::create(model_, engine_options());
  const std::shared_ptr<Session> parent = session_with(*engine, prompt_);
  generate(*parent, 0);
  const std::shared_ptr<Session> child = parent->fork();
  const std::vector<TokenId> rest = random_tokens(9);
  append(*child, rest);
  std::vector<TokenId> all = prompt_;
  all.insert(all.end(), rest.begin(), rest.end());
  const Output of_child = generate(*child);
  EXPECT_GE(of_child.usage.cached_tokens, static_cast<uint32_t>(GetParam().prompt_len) - 1);
  expect_same(of_child, cold(all));
  expect_same(generate(*parent), cold(prompt_));
}

TEST_P(SameTokensTest, PreemptedByRecomputeAndBySwap) {
  constexpr uint32_t kMaxTokens = 100;
  // So short that no step tells how fast prefill is: then the engine swaps where it can.
  prompt_.resize(7);
  const Output expected = cold(prompt_, kMaxTokens);
  const uint64_t one = bytes_of_one(kMaxTokens);
  for (const bool swaps : {false, true}) {
    EngineOptions options = engine_options();
    options.kv_budget_bytes = one * 5 / 2;  // for two of four, once they have grown
    options.prefix_caching = true;
    if (swaps) options.host_cache_bytes = uint64_t{256} << 20;
    const std::shared_ptr<Engine> engine = Engine::create(model_, options);
    // After many that generated one token the engine expects no more of others, and admits too many.
    for (int i = 0; i < 50; ++i) {
      const std::shared_ptr<Session> brief = session_with(*engine, random_tokens(2));
      output_of(*brief->generate(sampled(7, 1), nullptr));
    }
    // Of four tenants, so that they do not share.
    std::vector<std::shared_ptr<Session>> sessions;
    std::vector<std::shared_ptr<Request>> requests;
    for (const char* tenant : {"a", "b", "c", "d"}) {
      sessions.push_back(session_with(*engine, prompt_, tenant));
      GenerateOptions generate_options = sampled(7, kMaxTokens);
      generate_options.priority = static_cast<int>(
          sessions.size());  // each later one pushes others out
      requests.push_back(sessions.back()->generate(generate_options, nullptr));
    }
    for (const std::shared_ptr<Request>& request : requests) {
      expect_same(output_of(*request), expected);
    }
    const CacheReport report = engine->cache_report();
    EXPECT_EQ(engine->stats().requests_failed, 0u);
    EXPECT_GT(
        swaps ? report.scheduling.preemptions_swapped : report.scheduling.preemptions_recomputed,
        0u);
    EXPECT_LE(engine->stats().kv_peak_bytes, options.kv_budget_bytes);
  }
}

TEST_P(SameTokensTest, SuspendedToHostAndDisk) {
  const std::vector<TokenId> rest = random_tokens(7);
  for (const TierId tier : {TierId::host, TierId::disk}) {
    const TempFolder folder;
    EngineOptions options = engine_options();
    options.host_cache_bytes = tier == TierId::host ? uint64_t{256} << 20 : 0;
    options.disk_cache_bytes = tier == TierId::disk ? uint64_t{256} << 20 : 0;
    options.disk_cache_folder = folder.path("cache");
    const std::shared_ptr<Engine> engine = Engine::create(model_, options);
    const std::shared_ptr<Session> session = session_with(*engine, prompt_);
    const Output first = generate(*session);
    session->suspend(tier);
    EXPECT_TRUE(session->info().suspended);
    EXPECT_EQ(session->info().kv_bytes, 0u);
    // What is stored by now is all that can come back.
    while (engine->cache_report().tiers[static_cast<int>(tier)].used_bytes == 0 ||
           engine->cache_report().num_moves > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    engine->trim(UINT64_MAX);
    EXPECT_EQ(engine->cache_report().tiers[0].mapped_bytes, 0u);
    append(*session, rest);
    const Output resumed = generate(*session);
    const uint32_t from_tier = tier == TierId::host ? resumed.usage.host_tokens
                                                    : resumed.usage.disk_tokens;
    EXPECT_GE(from_tier + 16, static_cast<uint32_t>(GetParam().prompt_len) + 11);
    std::vector<TokenId> all = prompt_;
    all.insert(all.end(), first.tokens.begin(), first.tokens.end());
    all.insert(all.end(), rest.begin(), rest.end());
    expect_same(resumed, cold(all));
  }
}

TEST_P(SameTokensTest, ARestartKeepsWhatIsOnTheDisk) {
  const TempFolder folder;
  EngineOptions options = engine_options();
  options.disk_cache_bytes = uint64_t{256} << 20;
  options.disk_cache_folder = folder.path("cache");
  std::vector<TokenId> whole = prompt_;
  {
    const std::shared_ptr<Engine> engine = Engine::create(model_, options);
    const std::shared_ptr<Session> session = session_with(*engine, prompt_, "alice");
    const Output first = generate(*session);
    whole.insert(whole.end(), first.tokens.begin(), first.tokens.end());
    session->suspend(TierId::disk);
    engine->close(std::nullopt);
  }
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  // Where it ended: of a window's pages, those before other points were not kept.
  const Output found = generate(*session_with(*engine, whole, "alice"));
  EXPECT_GE(found.usage.disk_tokens + 16, static_cast<uint32_t>(whole.size()));
  expect_same(found, cold(whole));
  EXPECT_EQ(generate(*session_with(*engine, whole, "bob")).usage.cached_tokens, 0u);
}

// Eight sessions over few prompts, at random, in a pool for about three of them with a host tier behind it.
TEST_P(SameTokensTest, RandomInterleavingsOfEightSessions) {
  std::vector<std::vector<TokenId>> starts;
  for (int i = 0; i < 3; ++i) starts.push_back(random_tokens(GetParam().prompt_len / 2));
  EngineOptions options = engine_options();
  options.kv_budget_bytes = bytes_of_one(12) * 3;
  options.host_cache_bytes = uint64_t{64} << 20;
  const std::shared_ptr<Engine> engine = Engine::create(model_, options);
  struct Running {
    std::shared_ptr<Session> session;
    std::vector<TokenId> tokens;
  };
  std::vector<Running> sessions(8);
  const int num_rounds = GetParam().is_real ? 3 : 12;
  uint64_t num_cached = 0;
  for (int round = 0; round < num_rounds; ++round) {
    std::vector<std::shared_ptr<Request>> requests;
    for (Running& running : sessions) {
      const size_t longest = static_cast<size_t>(GetParam().prompt_len) + 50;
      if (!running.session || running.tokens.size() > longest || random_() % 4 == 0) {
        running.tokens = starts[random_() % starts.size()];
        running.session = session_with(*engine, running.tokens, random_() % 2 == 0 ? "a" : "b");
      } else if (random_() % 4 == 0) {
        suspend(*running.session);
      }
      const std::vector<TokenId> more = random_tokens(static_cast<int>(1 + random_() % 20));
      append(*running.session, more);
      running.tokens.insert(running.tokens.end(), more.begin(), more.end());
      requests.push_back(running.session->generate(sampled(7, 5), nullptr));
    }
    for (size_t i = 0; i < sessions.size(); ++i) {
      const Output output = output_of(*requests[i]);
      expect_same(output, cold(sessions[i].tokens, 5));
      num_cached += output.usage.cached_tokens;
      sessions[i].tokens.insert(sessions[i].tokens.end(), output.tokens.begin(),
                                output.tokens.end());
    }
  }
  EXPECT_GT(num_cached, 0u);
  EXPECT_EQ(engine->stats().requests_failed, 0u);
}

INSTANTIATE_TEST_SUITE_P(Tiny, SameTokensTest,
                         testing::Values(ModelCase{"llama-q4_1.gguf", false, 150},
                                         ModelCase{"gemma3-q4_k_m.gguf", false, 150},
                                         ModelCase{"gpt2-f32.gguf", false, 80}));
INSTANTIATE_TEST_SUITE_P(Gpu, SameTokensTest,
                         testing::Values(ModelCase{"llama-q4_1.gguf", false, 150, true},
                                         ModelCase{"gemma3-q4_k_m.gguf", false, 150, true},
                                         ModelCase{"gpt2-f32.gguf", false, 80, true}));
INSTANTIATE_TEST_SUITE_P(Real, SameTokensTest,
                         testing::Values(ModelCase{kSmolLm2, true, 300},
                                         ModelCase{kGemma3, true, 700}));

}  // namespace
}  // namespace kvi
