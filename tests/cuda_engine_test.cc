// An engine on a GPU whose driver is made up by a test: whatever call fails, the process goes on, requests say why they
// ended, and all is given back.
//
// Kernels do nothing, so what is generated means nothing either.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <thread>

#include "backend/cuda/backend_on_driver.h"
#include "backend/cuda/driver_error.h"
#include "base/error.h"
#include "engine/engine.h"
#include "support/fake_driver.h"
#include "support/seed.h"
#include "support/snapshot_sample.h"
#include "support/temp_folder.h"

namespace kvi::cuda {
namespace {

constexpr int64_t kSampled = 23;  // of so many calls one is made to fail

class Scene {
 public:
  Scene() {
    LoadOptions load;
    load.backend = make_cuda_backend(fake_.open(), 0);
    model_ = LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf",
                               load);
  }
  ~Scene() {
    if (engine_) engine_->close(std::nullopt);
    engine_.reset();
    model_.reset();
    EXPECT_TRUE(fake_.is_clean());
  }

  // With so little memory that sessions give their pages up.
  bool open_engine() {
    EngineOptions options;
    options.max_model_len = 128;
    options.max_batch_tokens = 32;
    options.kv_budget_bytes = 9 * page_bytes();
    options.host_cache_bytes = options.disk_cache_bytes = 1 << 20;
    options.disk_cache_folder = folder_.path();
    return try_call([&] { engine_ = Engine::create(model_, options); });
  }
  Engine& engine() { return *engine_; }

  // The call number at, from 0, or every call of a name.
  void fail(int64_t at, CUresult fault) {
    const std::lock_guard hold(fake_.mutex);
    first_call_ = fake_.num_calls;
    fake_.fail_at = first_call_ + at;
    fake_.fault = fault;
  }
  void fail_every(const char* call, CUresult fault) {
    const std::lock_guard hold(fake_.mutex);
    fake_.fail_call = call;
    fake_.fault = fault;
  }
  // Returns how many calls there were since fail.
  int64_t end_fault() {
    const std::lock_guard hold(fake_.mutex);
    fake_.fail_at = -1;
    fake_.fail_call.clear();
    return fake_.num_calls - first_call_;
  }

  // False: it failed, with a status that a failing GPU may give.
  template <typename Call>
  bool try_call(const Call& call) {
    try {
      call();
      return true;
    } catch (const Error& error) {
      ++statuses[error.status()];
      const bool is_clear = error.status() == Status::DEVICE_LOST ||
                            error.status() == Status::INTERNAL ||
                            error.status() == Status::OUT_OF_MEMORY ||
                            error.status() == Status::EXHAUSTED || error.status() == Status::BUSY;
      EXPECT_TRUE(is_clear) << status_name(error.status()) << ": " << error.message();
      return false;
    }
  }
  bool generate(Session& session, uint32_t max_tokens) {
    GenerateOptions how;
    how.max_tokens = max_tokens;
    how.sampling.temperature = 0;
    how.ignore_eos = true;
    return try_call([&] { session.generate(how, nullptr)->await(std::nullopt); });
  }
  std::shared_ptr<Session> begin(int num_tokens, const char* tenant = "") {
    SessionOptions own;
    own.tenant = tenant;
    std::shared_ptr<Session> session = engine_->create_session(own);
    std::vector<TokenId> tokens(static_cast<size_t>(num_tokens));
    for (int i = 0; i < num_tokens; ++i) tokens[static_cast<size_t>(i)] = 3 * i % 256;
    const Part part = std::span<const TokenId>(tokens);
    session->append({&part, 1});
    return session;
  }
  // Pages that were just given back are about to be moved.
  CacheReport wait_for_moves() {
    CacheReport report = engine_->cache_report();
    for (int i = 0; i < 100000 && (report.num_moves > 0 || report.tiers[0].deferred_bytes > 0);
         ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      report = engine_->cache_report();
    }
    return report;
  }

  // All that an engine does with pages: it shares, copies, zeroes, moves, saves and loads them.
  void play() {
    const std::shared_ptr<Session> first = begin(40), again = begin(38), other = begin(60, "other");
    generate(*first, 3);
    generate(*again, 2);
    wait_for_moves();
    generate(*other, 12);
    if (try_call([&] { first->suspend(TierId::disk); })) wait_for_moves();
    try_call([&] { generate(*other->fork(), 2); });
    generate(*first, 2);
    std::string snapshot;
    SessionLoad result;
    try_call([&] {
      again->save(sink_into(snapshot));
      generate(*engine_->load_session(source_of(snapshot), {}, result), 2);
    });
  }

  // The disk has not failed, whatever the GPU did.
  void expect_no_failure_of_the_disk() {
    const std::string metrics = engine_->metrics_text();
    const size_t at = metrics.find("\nkvinfer:disk_failures_total{");
    ASSERT_NE(at, std::string::npos);
    const std::string line = metrics.substr(at + 1, metrics.find('\n', at + 1) - at - 1);
    EXPECT_EQ(line.substr(line.find(' ')), " 0") << line;
  }
  void expect_all_is_given_back() {
    const CacheReport report = wait_for_moves();
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.num_sessions + stats.num_running + stats.num_queued, 0u);
    EXPECT_EQ(stats.kv_used_bytes, 0u);
    EXPECT_EQ(report.tiers[0].deferred_bytes, 0u);
    EXPECT_EQ(report.tiers[2].pinned_bytes, 0u);
  }

  std::map<Status, int> statuses;

 private:
  uint64_t page_bytes() const {
    const ModelConfig& config = model_->config();
    std::vector<KvLayerShape> layers;
    for (int layer = 0; layer < config.num_layers; ++layer) {
      layers.push_back(
          {layer, config.num_kv_heads, config.head_dim, config.head_dim, DType::F16, DType::F16});
    }
    return model_->backend().page_layout(layers, 16).page_bytes;
  }

  FakeDriver fake_;
  const TempFolder folder_;
  std::shared_ptr<const LoadedModel> model_;
  std::shared_ptr<Engine> engine_;
  int64_t first_call_ = 0;
};

TEST(CudaEngineTest, ManyCallsFailInTurn) {
  std::map<Status, int> statuses;
  // Returns how many calls there were.
  const auto run = [&](int64_t at, CUresult fault) {
    Scene scene;
    scene.fail(at, fault);
    const bool is_open = scene.open_engine();
    if (is_open) scene.play();
    const int64_t num_calls = scene.end_fault();
    if (is_open) {
      const int num_lost = scene.statuses[Status::DEVICE_LOST];
      EXPECT_TRUE(scene.generate(*scene.begin(20), 2) ||
                  scene.statuses[Status::DEVICE_LOST] > num_lost)
          << "no answer after the fault";
      scene.expect_all_is_given_back();
      scene.expect_no_failure_of_the_disk();
    }
    for (const auto& [status, count] : scene.statuses) {
      if (count > 0) statuses[status] += count;
    }
    return num_calls;
  };
  const int64_t num_calls = run(INT64_MAX / 2, CUDA_SUCCESS);
  ASSERT_GT(num_calls, 1000);
  EXPECT_TRUE(statuses.empty());
  for (CUresult fault :
       {CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_LAUNCH_FAILED}) {
    for (int64_t at = static_cast<int64_t>(test_seed() % kSampled); at < num_calls;
         at += kSampled) {
      SCOPED_TRACE("call " + std::to_string(at) + ", fault " + std::to_string(fault));
      run(at, fault);
      if (testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(statuses[Status::OUT_OF_MEMORY], 0);
  EXPECT_GT(statuses[Status::INTERNAL], 0);
  EXPECT_GT(statuses[Status::DEVICE_LOST], 0);
  std::printf("of %lld calls one in %lld failed in three ways\n", static_cast<long long>(num_calls),
              static_cast<long long>(kSampled));
}

TEST(CudaEngineTest, ACopyThatFailsLosesTheDeviceAndNotTheProcess) {
  Scene scene;
  ASSERT_TRUE(scene.open_engine());
  const std::shared_ptr<Session> first = scene.begin(40);
  ASSERT_TRUE(scene.generate(*first, 3));
  const std::shared_ptr<Session> again = first->fork();
  scene.fail_every("cuMemcpyDtoDAsync", CUDA_ERROR_INVALID_VALUE);
  EXPECT_FALSE(scene.generate(*again, 2)) << "it copies the page that both were writing to";
  EXPECT_EQ(scene.statuses[Status::DEVICE_LOST], 1);
  scene.end_fault();
  EXPECT_FALSE(scene.generate(*again, 2)) << "and nobody reads what was not copied";
  EXPECT_EQ(scene.statuses[Status::DEVICE_LOST], 2);
}

TEST(CudaEngineTest, APageThatTheDeviceDoesNotGiveIsComputedAgain) {
  Scene scene;
  ASSERT_TRUE(scene.open_engine());
  const std::shared_ptr<Session> session = scene.begin(40);
  scene.fail_every("cuMemcpyDtoHAsync", CUDA_ERROR_INVALID_VALUE);
  EXPECT_FALSE(scene.generate(*session, 3)) << "its logits do not come either";
  EXPECT_EQ(scene.statuses[Status::INTERNAL], 1);
  scene.end_fault();
  ASSERT_TRUE(scene.generate(*session, 3));
  scene.fail_every("cuMemcpyDtoHAsync", CUDA_ERROR_INVALID_VALUE);
  EXPECT_TRUE(scene.try_call([&] { session->suspend(TierId::disk); }));
  scene.wait_for_moves();
  scene.end_fault();
  EXPECT_GT(scene.engine().cache_report().counts.failed_moves, 0u);
  scene.expect_no_failure_of_the_disk();
  EXPECT_TRUE(scene.generate(*session, 2));
}

}  // namespace
}  // namespace kvi::cuda
