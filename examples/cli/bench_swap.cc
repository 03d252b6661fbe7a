// kvinfer bench --scenario swap: a paused conversation that goes on, and more work than fits the KV budget.
//
// resume_vs_recompute: the time to the first token when all is computed again, over that when its pages come from
// host memory (resume_disk_vs_recompute: from disk). oversubscribed_throughput_percent: requests that
// together want twice the budget, all at once, against the same ones of whom no more run than fit.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "measuring.h"
#include "scenarios.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kRepeats = 3;
constexpr uint32_t kPausedLen = 4096, kTurnLen = 16, kGenerated = 8;  // tokens
constexpr uint32_t kNumFitting = 8, kNumRequests = 16;                // 200 % of the budget
constexpr uint32_t kPromptLen = 128, kRequestGenerated = 128;         // tokens
constexpr std::chrono::seconds kMostTimeToStore{60};

void check(kvi_status status, kvi_error* error) {
  if (status != KVI_OK) throw kvinfer::Error(status, error);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / "kvinfer-bench-XXXXXX").string();
    if (mkdtemp(path_.data()) == nullptr) {
      throw Failure(ExitCode::failure, "cannot make a folder like " + path_);
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

kvi_tier_stats tier_stats(const kvinfer::Engine& engine, int32_t tier) {
  kvi_tier_stats stats;
  kvi_tier_stats_init(&stats, sizeof stats);
  kvi_error* error = nullptr;
  check(kvi_cache_get_tier_stats(engine.raw(), tier, &stats, &error), error);
  return stats;
}

class SwapBench {
 public:
  explicit SwapBench(const ScenarioArguments& arguments)
      : arguments_(arguments),
        repeats_(arguments.repeats.value_or(kRepeats)),
        model_(arguments.model.open()) {}

  Json run() const {
    Json rows = Json::array();
    rows.push_back(measure_resume("resume_vs_recompute", KVI_TIER_HOST));
    rows.push_back(measure_resume("resume_disk_vs_recompute", KVI_TIER_DISK));
    rows.push_back(measure_oversubscription());
    return rows;
  }

 private:
  kvi_engine_options options(uint32_t max_model_len, uint32_t max_sequences) const {
    kvi_engine_options options = arguments_.engine.options(arguments_.model, model_).without_log();
    options.max_model_len = max_model_len;
    options.max_sequences = max_sequences;
    return options;
  }

  Json measure_resume(const char* name, int32_t tier) const {
    const TemporaryFolder folder;
    kvi_engine_options swapping = options(kPausedLen + kTurnLen + kGenerated, 1);
    const uint64_t each = bytes_per_sequence(model_, swapping);
    swapping.kv_budget_bytes = std::max(swapping.kv_budget_bytes, 2 * each);
    if (tier == KVI_TIER_HOST) {
      swapping.host_cache_bytes = 2 * each;
    } else {
      // A slot has a header of its own, of up to a page of the system.
      swapping.disk_cache_bytes = 8 * each + (uint64_t{64} << 20);
      swapping.disk_cache_folder = folder.path().c_str();
    }
    kvi_engine_options forgetting = swapping;
    forgetting.prefix_caching = 0;
    forgetting.host_cache_bytes = forgetting.disk_cache_bytes = 0;
    forgetting.disk_cache_folder = nullptr;
    const kvinfer::Engine engine = create_engine(model_, swapping);
    const kvinfer::Engine cold = create_engine(model_, forgetting);

    std::vector<double> resumed, recomputed;  // ms
    for (uint32_t i = 1; i <= repeats_; ++i) {
      const Tokens turn = random_tokens(model_, ~uint64_t{i}, kTurnLen);
      Tokens tokens = random_tokens(model_, i, kPausedLen);
      kvinfer::Session session = engine.session();
      session.append(tokens);
      answer(session, 0);
      pause(engine, session, tier);
      tokens.insert(tokens.end(), turn.begin(), turn.end());
      std::optional<Answer> without;
      if (i % 2 == 0) without = answer(cold, tokens, kGenerated);
      session.append(turn);
      const Answer with = answer(session, kGenerated);
      if (i % 2 == 1) without = answer(cold, tokens, kGenerated);
      require_equal(with, *without, name);
      const uint32_t loaded = tier == KVI_TIER_HOST ? with.usage.host_tokens
                                                    : with.usage.disk_tokens;
      if (loaded + swapping.page_len < kPausedLen) {
        throw Failure(ExitCode::failure, std::string(name) + ": only " + std::to_string(loaded) +
                                             " tokens came from the tier");
      }
      resumed.push_back(with.usage.ttft_ms);
      recomputed.push_back(without->usage.ttft_ms);
    }
    return {{"name", name},
            {"value", median(recomputed) / median(resumed)},
            {"tokens", kPausedLen},
            {"resume_ttft_ms", median(resumed)},
            {"recompute_ttft_ms", median(recomputed)},
            {"repeats", repeats_}};
  }

  // Suspends, and drops the device's pages once the tier has them all.
  static void pause(const kvinfer::Engine& engine, kvinfer::Session& session, int32_t tier) {
    kvi_error* error = nullptr;
    check(kvi_session_suspend(session.raw(), tier, &error), error);
    const Clock::time_point deadline = Clock::now() + kMostTimeToStore;
    while (tier_stats(engine, KVI_TIER_DEVICE).mapped_bytes > 0) {
      if (Clock::now() > deadline) {
        throw Failure(ExitCode::failure, "the tier does not take the pages in time");
      }
      check(kvi_engine_trim(engine.raw(), UINT64_MAX, nullptr, &error), error);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  struct Batch {
    double seconds = 0;
    uint32_t num_preemptions = 0;
    std::vector<Tokens> tokens;
  };

  Batch run_batch(const kvinfer::Engine& engine, uint64_t seed) const {
    Batch batch;
    std::vector<kvinfer::Session> sessions;
    for (uint32_t i = 0; i < kNumRequests; ++i) {
      sessions.push_back(engine.session());
      sessions.back().append(random_tokens(model_, seed << 32 | i, kPromptLen));
    }
    std::vector<kvinfer::Stream> requests;
    const Clock::time_point start = Clock::now();
    for (kvinfer::Session& session : sessions) {
      requests.push_back(
          session.generate(kvinfer::GenerateOptions::greedy(kRequestGenerated).ignore_eos()));
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      while (requests[i].next()) continue;
      batch.tokens.push_back(requests[i].tokens());
      batch.num_preemptions += requests[i].usage().num_preemptions;
      if (batch.tokens.back().size() != kRequestGenerated) {
        throw Failure(ExitCode::failure, "a request was lost");
      }
    }
    batch.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return batch;
  }

  Json measure_oversubscription() const {
    kvi_engine_options crowded = options(kPromptLen + kRequestGenerated, kNumRequests);
    kvi_plan plan = model_.plan(kvinfer::PlanOptions()
                                    .max_model_len(crowded.max_model_len)
                                    .max_num_seqs(kNumFitting)
                                    .max_num_batched_tokens(crowded.max_batch_tokens)
                                    .block_size(crowded.page_len));
    crowded.kv_budget_bytes = plan.kv_bytes;
    crowded.host_cache_bytes = 2 * plan.kv_bytes;
    kvi_engine_options queued = crowded;
    queued.max_sequences = kNumFitting;
    const kvinfer::Engine crowded_engine = create_engine(model_, crowded);
    const kvinfer::Engine queued_engine = create_engine(model_, queued);
    std::vector<double> crowded_seconds, queued_seconds;
    uint32_t num_preemptions = 0;
    for (uint32_t i = 0; i <= repeats_; ++i) {  // the first warms up
      Batch queue, crowd;
      if (i % 2 == 0) queue = run_batch(queued_engine, i);
      crowd = run_batch(crowded_engine, i);
      if (i % 2 == 1) queue = run_batch(queued_engine, i);
      if (crowd.tokens != queue.tokens) {
        throw Failure(ExitCode::failure, "preempted requests made other tokens; this is a bug");
      }
      if (i == 0) continue;
      crowded_seconds.push_back(crowd.seconds);
      queued_seconds.push_back(queue.seconds);
      num_preemptions += crowd.num_preemptions;
    }
    const double generated = kNumRequests * kRequestGenerated;
    return {{"name", "oversubscribed_throughput_percent"},
            {"value", 100 * median(queued_seconds) / median(crowded_seconds)},
            {"requests", kNumRequests},
            {"lost", 0},
            {"preemptions", num_preemptions},
            {"tokens_per_s", generated / median(crowded_seconds)},
            {"queued_tokens_per_s", generated / median(queued_seconds)},
            {"repeats", repeats_}};
  }

  const ScenarioArguments& arguments_;
  const uint32_t repeats_;
  const kvinfer::Model model_;
};

}  // namespace

void bench_swap(const ScenarioArguments& arguments) {
  print_results(SwapBench(arguments).run(), arguments.model.json);
}

}  // namespace cli
