// Engine, sessions, requests and models used from eight threads at once, through the C interface: what
// runs under the thread sanitizer.
#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/seed.h"

namespace {

constexpr int kNumThreads = 8;
constexpr int kRoundsPerThread = 12;
const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";

void run_threads(const std::function<void(int thread)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kNumThreads; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

class CapiThreads : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(kvi_model_open(kModelPath.data(), kModelPath.size(), nullptr, &model_, nullptr),
              KVI_OK);
    engine_ = open_engine();
  }
  void TearDown() override {
    if (engine_ != nullptr) {
      kvi_stats stats;
      kvi_stats_init(&stats, sizeof stats);
      EXPECT_EQ(kvi_engine_close(engine_, KVI_FOREVER, nullptr), KVI_OK);
      EXPECT_EQ(kvi_engine_get_stats(engine_, &stats, nullptr), KVI_OK);
      EXPECT_EQ(stats.num_sessions, 0u);
      EXPECT_EQ(stats.kv_used_bytes, 0u);  // every page came back
      EXPECT_EQ(stats.requests_failed, 0u);
    }
    kvi_engine_release(engine_);
    kvi_model_release(model_);
  }

  kvi_engine* open_engine(kvi_log_fn log = nullptr, void* log_user = nullptr) {
    kvi_engine_options options;
    kvi_engine_options_init(&options, sizeof options);
    options.num_threads = 2;
    options.max_batch_tokens = 16;
    options.max_sequences = 4;
    options.kv_budget_bytes = 16 << 20;
    options.log = log;
    options.log_user = log_user;
    kvi_engine* engine = nullptr;
    EXPECT_EQ(kvi_engine_create(model_, &options, &engine, nullptr), KVI_OK);
    return engine;
  }

  kvi_session* open_session(const std::string& text = "once upon a time") {
    kvi_session* session = nullptr;
    EXPECT_EQ(kvi_session_create(engine_, nullptr, &session, nullptr), KVI_OK);
    EXPECT_EQ(kvi_session_append_text(session, text.data(), text.size(), nullptr), KVI_OK);
    return session;
  }

  static kvi_request* start(kvi_session* session, uint32_t max_tokens) {
    kvi_generate_options options;
    kvi_generate_options_init(&options, sizeof options);
    options.max_tokens = max_tokens;
    options.ignore_eos = 1;
    kvi_request* request = nullptr;
    EXPECT_EQ(kvi_session_generate(session, &options, &request, nullptr), KVI_OK);
    return request;
  }

  void random_work(uint64_t seed);

  kvi_model* model_ = nullptr;
  kvi_engine* engine_ = nullptr;
};

// One thread's life: generates, reads, cancels, forks, tokenizes, scores and releases in random order.
void CapiThreads::random_work(uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < kRoundsPerThread; ++round) {
    kvi_session* session = open_session();
    kvi_request* request = start(session, 1 + random() % 24);
    kvi_session* fork = nullptr;
    char text[64];
    size_t size = 0;
    int32_t tokens[64];
    float logprobs[64];
    switch (random() % 6) {
      case 0:  // reads to the end
        for (int32_t finish = KVI_FINISH_NONE; finish == KVI_FINISH_NONE;) {
          EXPECT_EQ(kvi_request_wait(request, KVI_FOREVER, nullptr), KVI_OK);
          EXPECT_EQ(kvi_request_read(request, text, sizeof text, &size, &finish, nullptr), KVI_OK);
        }
        break;
      case 1:  // cancels
        EXPECT_EQ(kvi_request_cancel(request, random() % 2 ? KVI_STOP : KVI_CANCEL, nullptr),
                  KVI_OK);
        EXPECT_EQ(kvi_request_await(request, KVI_FOREVER, nullptr), KVI_OK);
        EXPECT_EQ(kvi_session_truncate(session, 2, nullptr), KVI_OK);
        break;
      case 2:  // leaves at once, the session first
        kvi_session_release(session);
        session = nullptr;
        break;
      case 3:
        EXPECT_EQ(kvi_request_await(request, KVI_FOREVER, nullptr), KVI_OK);
        EXPECT_EQ(kvi_session_fork(session, &fork, nullptr), KVI_OK);
        kvi_request_release(start(fork, 8));
        break;
      case 4:
        EXPECT_EQ(kvi_tokenize(model_, "the quick brown fox", 19, KVI_BOS_AUTO, KVI_SPECIAL_NO,
                               tokens, 64, &size, nullptr),
                  KVI_OK);
        EXPECT_EQ(kvi_score(engine_, tokens, size, 1, logprobs, nullptr, nullptr, nullptr), KVI_OK);
        break;
      default: {
        kvi_stats stats;
        kvi_stats_init(&stats, sizeof stats);
        EXPECT_EQ(kvi_engine_get_stats(engine_, &stats, nullptr), KVI_OK);
        kvi_session_info info;
        kvi_session_info_init(&info, sizeof info);
        EXPECT_EQ(kvi_session_get_info(session, &info, nullptr), KVI_OK);
        EXPECT_EQ(kvi_generate(
                      engine_, "once", 4, nullptr,
                      [](void*, const kvi_text*) -> int32_t { return KVI_STOP; }, nullptr, nullptr,
                      nullptr),
                  KVI_OK);
      }
    }
    kvi_session_release(fork);
    kvi_request_release(request);
    kvi_session_release(session);
  }
}

TEST_F(CapiThreads, EightThreadsGenerateCancelForkTokenizeAndReleaseAtOnce) {
  const uint64_t seed = kvi::test_seed();
  run_threads([&](int thread) { random_work(seed + static_cast<uint64_t>(thread)); });
}

TEST_F(CapiThreads, ASecondThreadInASessionGetsBusy) {
  kvi_session* session = open_session();
  std::atomic<int> num_ok{0}, num_busy{0}, num_other{0};
  run_threads([&](int) {
    for (int i = 0; i < 200; ++i) {
      switch (kvi_session_append_text(session, "a", 1, nullptr)) {
        case KVI_OK: ++num_ok; break;
        case KVI_BUSY: ++num_busy; break;
        case KVI_CONTEXT_FULL: ++num_busy; break;
        default: ++num_other;
      }
    }
  });
  size_t count = 0;
  EXPECT_EQ(kvi_session_tokens(session, nullptr, 0, &count, nullptr), KVI_OK);
  EXPECT_GE(count, static_cast<size_t>(num_ok.load()));
  EXPECT_EQ(num_other, 0);
  kvi_session_release(session);
}

TEST_F(CapiThreads, OneWaiterServesRequestsThatOthersCancelAndRelease) {
  std::vector<kvi_session*> sessions;
  std::vector<kvi_request*> requests;
  for (int i = 0; i < kNumThreads; ++i) {
    sessions.push_back(open_session());
    requests.push_back(start(sessions.back(), 40));
  }
  std::atomic<int> num_finished{0};
  std::thread canceller([&] {
    for (int i = 0; i < kNumThreads; i += 2) kvi_request_cancel(requests[i], KVI_STOP, nullptr);
  });
  while (num_finished < kNumThreads) {
    kvi_request* ready[3];
    size_t count = 0;
    ASSERT_EQ(kvi_engine_wait(engine_, ready, 3, &count, KVI_FOREVER, nullptr), KVI_OK);
    for (size_t i = 0; i < count; ++i) {
      char text[256];
      size_t size = 0;
      int32_t finish = KVI_FINISH_NONE;
      ASSERT_EQ(kvi_request_read(ready[i], text, sizeof text, &size, &finish, nullptr), KVI_OK);
      num_finished += finish != KVI_FINISH_NONE;
    }
  }
  canceller.join();
  for (kvi_request* request : requests) kvi_request_release(request);
  for (kvi_session* session : sessions) kvi_session_release(session);
}

TEST_F(CapiThreads, ClosingEndsWhatRunsAndWakesWhoWaits) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kNumThreads; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        const kvi_status status = kvi_generate(engine_, "once", 4, nullptr, nullptr, nullptr,
                                               nullptr, nullptr);
        if (status == KVI_CLOSED) return;
        ASSERT_TRUE(status == KVI_OK || status == KVI_EXHAUSTED) << kvi_status_name(status);
      }
    });
  }
  std::thread waiter([&] {
    kvi_request* ready[1];
    size_t count = 0;
    while (kvi_engine_wait(engine_, ready, 1, &count, KVI_FOREVER, nullptr) != KVI_CLOSED) continue;
  });
  EXPECT_EQ(kvi_engine_close(engine_, KVI_FOREVER, nullptr), KVI_OK);
  for (std::thread& thread : threads) thread.join();
  waiter.join();
}

struct OwnSession {
  kvi_session* session = nullptr;
  kvi_request* request = nullptr;
};

TEST_F(CapiThreads, HandlesAreReleasedInsideATextCallback) {
  run_threads([&](int) {
    for (int round = 0; round < 4; ++round) {
      OwnSession own;
      own.session = open_session();
      own.request = start(own.session, 16);
      EXPECT_EQ(kvi_generate(
                    engine_, "once", 4, nullptr,
                    [](void* user, const kvi_text*) -> int32_t {
                      auto* own = static_cast<OwnSession*>(user);
                      kvi_session_release(own->session);
                      kvi_request_release(own->request);
                      *own = {};
                      return KVI_STOP;
                    },
                    &own, nullptr, nullptr),
                KVI_OK);
      kvi_session_release(own.session);
      kvi_request_release(own.request);
    }
  });
}

TEST_F(CapiThreads, HandlesAreReleasedInsideALogCallback) {
  OwnSession own;
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.num_threads = 1;
  options.kv_budget_bytes = 16 << 10;  // too small for what follows: there is something to log
  options.log = [](void* user, int32_t, const char*) {
    auto* own = static_cast<OwnSession*>(user);
    kvi_session_release(own->session);
    own->session = nullptr;
  };
  options.log_user = &own;
  kvi_engine* engine = nullptr;
  ASSERT_EQ(kvi_engine_create(model_, &options, &engine, nullptr), KVI_OK);
  kvi_generate_options generate;
  kvi_generate_options_init(&generate, sizeof generate);
  generate.ignore_eos = 1;
  ASSERT_EQ(kvi_session_create(engine, nullptr, &own.session, nullptr), KVI_OK);
  ASSERT_EQ(kvi_session_append_text(own.session, "once", 4, nullptr), KVI_OK);
  ASSERT_EQ(kvi_generate(engine, "once", 4, &generate, nullptr, nullptr, nullptr, nullptr),
            KVI_EXHAUSTED);
  ASSERT_EQ(kvi_engine_close(engine, KVI_FOREVER, nullptr), KVI_OK);
  EXPECT_EQ(own.session, nullptr);
  kvi_engine_release(engine);
}

TEST_F(CapiThreads, WaitingInsideALogCallbackIsRefused) {
  struct Seen {
    kvi_engine* engine = nullptr;
    int32_t generated = KVI_OK, scored = KVI_OK, waited = KVI_OK;
  } seen;
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.num_threads = 1;
  options.kv_budget_bytes = 16 << 10;  // too small for what follows: there is something to log
  options.log = [](void* user, int32_t, const char*) {
    auto* seen = static_cast<Seen*>(user);
    const int32_t tokens[2] = {1, 2};
    float logprob = 0;
    kvi_request* named = nullptr;
    size_t count = 0;
    seen->generated = kvi_generate(seen->engine, "once", 4, nullptr, nullptr, nullptr, nullptr,
                                   nullptr);
    seen->scored = kvi_score(seen->engine, tokens, 2, 1, &logprob, nullptr, nullptr, nullptr);
    seen->waited = kvi_engine_wait(seen->engine, &named, 1, &count, KVI_FOREVER, nullptr);
  };
  options.log_user = &seen;
  ASSERT_EQ(kvi_engine_create(model_, &options, &seen.engine, nullptr), KVI_OK);
  kvi_generate_options generate;
  kvi_generate_options_init(&generate, sizeof generate);
  generate.ignore_eos = 1;
  ASSERT_EQ(kvi_generate(seen.engine, "once", 4, &generate, nullptr, nullptr, nullptr, nullptr),
            KVI_EXHAUSTED);
  ASSERT_EQ(kvi_engine_close(seen.engine, KVI_FOREVER, nullptr), KVI_OK);
  EXPECT_EQ(seen.generated, KVI_INVALID_STATE);
  EXPECT_EQ(seen.scored, KVI_INVALID_STATE);
  EXPECT_EQ(seen.waited, KVI_INVALID_STATE);
  kvi_engine_release(seen.engine);
}

TEST_F(CapiThreads, EnginesComeAndGoWhileTheyWork) {
  run_threads([&](int thread) {
    for (int round = 0; round < 3; ++round) {
      kvi_engine* engine = open_engine();
      kvi_session* session = nullptr;
      EXPECT_EQ(kvi_session_create(engine, nullptr, &session, nullptr), KVI_OK);
      EXPECT_EQ(kvi_session_append_text(session, "once", 4, nullptr), KVI_OK);
      kvi_request* request = start(session, 100);
      if (thread % 2) kvi_engine_release(engine);
      kvi_session_release(session);
      kvi_request_release(request);
      if (thread % 2 == 0) {
        EXPECT_EQ(kvi_engine_close(engine, KVI_FOREVER, nullptr), KVI_OK);
        kvi_engine_release(engine);
      }
    }
  });
}

// ---- fork ----

// Exits with 0 where every call in a forked child is refused and every release harmless.
int use_in_child(kvi_model* model, kvi_engine* engine, kvi_session* session, kvi_request* request) {
  kvi_error* error = nullptr;
  kvi_model* other = nullptr;
  kvi_stats stats;
  kvi_request* ready[1];
  size_t count = 0;
  if (kvi_session_append_text(session, "x", 1, &error) != KVI_FORKED) return 1;
  if (kvi_error_code(error) != KVI_FORKED || *kvi_error_message(error) == '\0') return 2;
  kvi_error_release(error);
  if (kvi_model_open(kModelPath.data(), kModelPath.size(), nullptr, &other, nullptr) != KVI_FORKED)
    return 3;
  if (kvi_tokenize(model, "x", 1, 0, 0, nullptr, 0, &count, nullptr) != KVI_FORKED) return 4;
  if (kvi_generate(engine, "x", 1, nullptr, nullptr, nullptr, nullptr, nullptr) != KVI_FORKED)
    return 5;
  if (kvi_request_await(request, KVI_FOREVER, nullptr) != KVI_FORKED) return 6;
  if (kvi_engine_wait(engine, ready, 1, &count, KVI_FOREVER, nullptr) != KVI_FORKED) return 7;
  if (kvi_engine_get_stats(engine, &stats, nullptr) != KVI_FORKED) return 8;
  if (kvi_engine_close(engine, KVI_FOREVER, nullptr) != KVI_FORKED) return 9;
  kvi_request_release(request);
  kvi_session_release(session);
  kvi_engine_release(engine);
  kvi_model_release(model);
  return kvi_version() > 0 ? 0 : 10;
}

TEST_F(CapiThreads, AForkedChildIsRefusedAndItsReleasesAreHarmless) {
  const uint64_t seed = kvi::test_seed();
  std::vector<std::thread> busy;
  for (uint64_t i = 0; i + 1 < kNumThreads; ++i) {
    busy.emplace_back([this, work_seed = seed + i] { random_work(work_seed); });
  }
  kvi_session* session = open_session();
  kvi_request* request = start(session, 50);
  for (int round = 0; round < 3; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(use_in_child(model_, engine_, session, request));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "the child's status is " << status;
  }
  for (std::thread& thread : busy) thread.join();
  EXPECT_EQ(kvi_request_await(request, KVI_FOREVER, nullptr), KVI_OK);  // the parent goes on
  kvi_request_release(request);
  kvi_session_release(session);
}

}  // namespace
