// Engines when memory or files fail: in each scenario every allocation of the library, and every call about files,
// fails in turn, once and for ever. Nothing ends, hangs or leaks; what is generated is right or an error says why
// not; and when the fault is over, the engine serves as before.
//
// KVI_FAULT=memory:17:once (or files, for_ever) replays one point of each scenario that the filter leaves, and
// prints where the fault was.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <sstream>

#include "support/fault_scene.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

constexpr int64_t kMostPoints = 3000;
constexpr int kMostFailures = 3;  // points that failed, after which a scenario ends

Tokens prompt_of(int first, int count) {
  Tokens tokens(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) tokens[static_cast<size_t>(i)] = (first + 7 * i) % 256;
  return tokens;
}

const char* name_of(FaultKind kind) { return kind == FaultKind::memory ? "memory" : "files"; }
const char* name_of(FaultTime time) { return time == FaultTime::once ? "once" : "for_ever"; }
std::string describe(const FaultPoint& point) {
  return std::string("KVI_FAULT=") + name_of(point.kind) + ":" + std::to_string(point.nth) + ":" +
         name_of(point.time);
}

std::optional<FaultPoint> wanted_point() {
  const char* wanted = std::getenv("KVI_FAULT");
  if (wanted == nullptr) return std::nullopt;
  std::istringstream fields(wanted);
  std::string kind, nth, time;
  std::getline(fields, kind, ':');
  std::getline(fields, nth, ':');
  std::getline(fields, time);
  return FaultPoint{kind == "files" ? FaultKind::files : FaultKind::memory, std::stoll(nth),
                    time == "for_ever" ? FaultTime::for_ever : FaultTime::once};
}

int num_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

struct Holdings {
  int64_t allocations = num_live_allocations();
  int64_t mappings = num_live_mappings();
  int descriptors = num_descriptors();
  bool operator==(const Holdings&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Holdings& held) {
  return out << held.allocations << " allocations, " << held.mappings << " mappings, "
             << held.descriptors << " descriptors";
}

FaultPoint current;
void report(int signal) {
  std::fprintf(stderr, "signal %d at KVI_FAULT=%s:%lld:%s\n", signal, name_of(current.kind),
               static_cast<long long>(current.nth), name_of(current.time));
  print_fault_stack();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class EngineFaults : public testing::Test {
 protected:
  using Play = std::function<void(FaultScene&)>;
  enum class Opening { model, engine };  // what is under test from its opening on

  void SetUp() override {
    for (int signal : {SIGABRT, SIGSEGV}) std::signal(signal, report);
  }

  std::string model_path() const {
    return std::string(KVINFER_TEST_DATA) + "/models/tiny/" + model_;
  }

  // play goes first to open what it needs, then plays; set_up: the engine's options.
  void fail_everywhere(const std::vector<Tokens>& prompts, Opening opening,
                       const std::function<void(FaultScene&)>& set_up, const Play& play) {
    set_up_ = set_up;
    play_ = play;
    opening_ = opening;
    for (const Tokens& prompt : prompts) learn(prompt);
    if (const std::optional<FaultPoint> wanted = wanted_point()) {
      run({wanted->kind, 0});
      run(*wanted);
      print_fault_stack();
      return;
    }
    int64_t num_points = 0;
    for (FaultKind kind : {FaultKind::memory, FaultKind::files}) {
      run({kind, 0});  // what is made once and kept
      const int64_t num_calls = run({kind, 0});
      std::printf("%lld %s calls\n", static_cast<long long>(num_calls), name_of(kind));
      if (HasFatalFailure()) return;
      num_points += 2 * num_calls;
      int num_failures = 0;
      for (int64_t nth = 1; nth <= num_calls; ++nth) {
        for (FaultTime time : {FaultTime::once, FaultTime::for_ever}) {
          const FaultPoint point = {kind, nth, time};
          SCOPED_TRACE(describe(point));
          const int before = failures();
          run(point);
          if (failures() == before) continue;
          print_fault_stack();
          if (++num_failures >= kMostFailures) return;
        }
      }
    }
    std::printf("%lld points\n", static_cast<long long>(num_points));
    EXPECT_LE(num_points, kMostPoints);
  }

  const char* model_ = "llama-q4_1.gguf";
  bool saw_preemption_ = false;

 private:
  static int failures() {
    return testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
  }

  // The right text of a prompt: what no cache, no neighbour and no fault has a part in.
  void learn(const Tokens& prompt) {
    if (texts_.contains(prompt)) return;
    texts_[prompt] = {};
    FaultScene scene(model_path(), folder_.path(), texts_);
    arm_fault({});
    scene.options.prefix_caching = 0;
    ASSERT_TRUE(scene.open_engine());
    Tokens text = prompt;
    text.resize(prompt.size() + kTextLen);
    texts_[prompt].resize(text.size());
    const Talk talk = scene.begin(prompt);
    const Request request = scene.start(talk, kTextLen);
    ASSERT_EQ(kvi_request_await(request.get(), KVI_FOREVER, nullptr), KVI_OK);
    size_t count = 0;
    kvi_session_tokens(talk.session.get(), text.data(), text.size(), &count, nullptr);
    ASSERT_EQ(count, text.size());
    texts_[prompt] = text;
    disarm_fault();
    scene.close_engine();
    open_ = scene.model();
  }

  // Returns how many calls there were.
  int64_t run(const FaultPoint& point) {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      std::filesystem::remove_all(entry.path());
    current = point;
    const Holdings before;
    int64_t num_calls = 0;
    {
      FaultScene scene(model_path(), folder_.path(), texts_,
                       opening_ == Opening::engine ? open_ : nullptr);
      set_up_(scene);
      arm_fault(point);
      play_(scene);
      num_calls = disarm_fault();
      expect_all_is_given_back(scene);
      expect_it_serves(scene);
      scene.close_engine();
    }
    EXPECT_EQ(Holdings(), before) << "leaked";
    return num_calls;
  }

  // Nothing is held when all handles but the engine's are released.
  void expect_all_is_given_back(FaultScene& scene) {
    if (!scene.engine()) return;
    EXPECT_TRUE(FaultScene::poll(FaultScene::kManyPolls,
                                 [&] {
                                   const kvi_stats stats = scene.stats();
                                   const kvi_tier_stats device = scene.tier(KVI_TIER_DEVICE);
                                   return stats.num_sessions == 0 && stats.num_running == 0 &&
                                          stats.num_queued == 0 && stats.kv_used_bytes == 0 &&
                                          device.deferred_bytes == 0 &&
                                          scene.tier(KVI_TIER_HOST).pinned_bytes == 0 &&
                                          scene.tier(KVI_TIER_DISK).pinned_bytes == 0;
                                 }))
        << "sessions " << scene.stats().num_sessions << ", running " << scene.stats().num_running
        << ", queued " << scene.stats().num_queued << ", used " << scene.stats().kv_used_bytes
        << ", deferred " << scene.tier(KVI_TIER_DEVICE).deferred_bytes << ", pinned "
        << scene.tier(KVI_TIER_HOST).pinned_bytes << " and "
        << scene.tier(KVI_TIER_DISK).pinned_bytes;
  }

  // After the fault the same engine, where there is one, answers every prompt.
  void expect_it_serves(FaultScene& scene) {
    if (!scene.engine()) return;
    for (const auto& [prompt, text] : texts_) {
      const Talk talk = scene.begin(prompt);
      ASSERT_TRUE(talk) << "no session after the fault";
      EXPECT_TRUE(scene.generate(talk, 3)) << "no answer after the fault";
    }
  }

  static constexpr uint32_t kTextLen = 24;

  const TempFolder folder_;
  std::map<Tokens, Tokens> texts_;
  std::function<void(FaultScene&)> set_up_;
  Play play_;
  Opening opening_ = Opening::engine;
  std::shared_ptr<kvi_model> open_;
};

TEST_F(EngineFaults, OpenModel) {
  const Tokens prompt = prompt_of(1, 20);
  fail_everywhere(
      {prompt}, Opening::model, [](FaultScene&) {},
      [&](FaultScene& scene) {
        if (!scene.open_model()) return;
        scene.close_model();
      });
}

TEST_F(EngineFaults, OpenAndGenerate) {
  const Tokens prompt = prompt_of(1, 20);
  fail_everywhere(
      {prompt}, Opening::engine, [](FaultScene&) {},
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        {
          const Talk talk = scene.begin(prompt);
          if (scene.generate(talk, 4)) scene.generate(talk, 3);
        }
        scene.close_engine();  // in the midst of it
      });
}

// The second prompt finds two whole pages of the first, and the start of a third.
TEST_F(EngineFaults, PrefixHit) {
  const Tokens first = prompt_of(1, 44);
  Tokens second = first;
  second.resize(38);
  second.insert(second.end(), {5, 4, 3});
  fail_everywhere(
      {first, second}, Opening::engine, [](FaultScene& scene) { scene.options.cache_events = 8; },
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        { scene.generate(scene.begin(first), 2); }
        for (const char* tenant : {"a", "b"}) scene.generate(scene.begin(second, tenant), 2);
      });
}

// Demand beyond the pool: somebody is preempted, and swapped to host memory.
TEST_F(EngineFaults, PreemptAndSwap) {
  const std::vector<Tokens> prompts = {prompt_of(1, 60), prompt_of(2, 60), prompt_of(3, 60)};
  fail_everywhere(
      prompts, Opening::engine,
      [](FaultScene& scene) {
        scene.options.kv_budget_bytes = scene.page_bytes() * 11;
        scene.options.max_model_len = 128;
        scene.add_host_tier();
      },
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        std::vector<Talk> talks;
        std::vector<Request> requests;
        for (const Tokens& prompt : prompts) {
          talks.push_back(scene.begin(prompt));
          requests.push_back(scene.start(talks.back(), 20));
        }
        for (size_t i = 0; i < talks.size(); ++i) scene.finish(talks[i], requests[i]);
        saw_preemption_ |= scene.num_preemptions() > 0;
      });
  EXPECT_TRUE(saw_preemption_);
}

TEST_F(EngineFaults, SuspendToDiskAndResume) {
  const Tokens prompt = prompt_of(1, 40);
  fail_everywhere(
      {prompt}, Opening::engine,
      [](FaultScene& scene) {
        scene.add_host_tier();
        scene.add_disk_tier();
      },
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        for (int32_t tier : {KVI_TIER_DISK, KVI_TIER_HOST}) {
          const Talk talk = scene.begin(prompt);
          scene.generate(talk, 2);
          if (!scene.suspend(talk, tier)) continue;
          scene.wait_stored(tier, 3 * scene.page_bytes());
          scene.trim();
          if (tier == KVI_TIER_HOST) scene.resume(talk);
          scene.generate(talk, 2);
        }
      });
}

TEST_F(EngineFaults, RestartFromDisk) {
  const Tokens prompt = prompt_of(1, 40);
  fail_everywhere(
      {prompt}, Opening::engine, [](FaultScene& scene) { scene.add_disk_tier(); },
      [&](FaultScene& scene) {
        for (int life = 0; life < 2; ++life) {
          if (!scene.open_engine()) continue;
          { scene.generate(scene.begin(prompt), 2); }
          scene.wait_stored(KVI_TIER_DISK, 3 * scene.page_bytes());
          scene.close_engine();
        }
      });
}

TEST_F(EngineFaults, SnapshotSaveAndLoad) {
  const Tokens prompt = prompt_of(1, 40);
  fail_everywhere(
      {prompt}, Opening::engine, [](FaultScene&) {},
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        {
          const Talk talk = scene.begin(prompt);
          if (!scene.generate(talk, 2) || !scene.save(talk)) return;
        }
        const Talk loaded = scene.load(prompt);
        scene.generate(loaded, 2);
      });
}

TEST_F(EngineFaults, PinPreloadProbeEvict) {
  const Tokens prompt = prompt_of(1, 40);
  const std::vector<int32_t> tiers = {KVI_TIER_DEVICE, KVI_TIER_HOST};
  fail_everywhere(
      {prompt}, Opening::engine, [](FaultScene& scene) { scene.add_host_tier(); },
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        for (int32_t tier : tiers) {
          const Prefix pin = scene.preload(prompt, tier);
          scene.probe(prompt);
          scene.trim();
          scene.prefetch(prompt);
          scene.generate(scene.begin(prompt), 2);
          const Prefix second = scene.pin(prompt);
          scene.evict(prompt);
        }
        scene.clear();
        scene.metrics();
      });
}

TEST_F(EngineFaults, ForkAndTruncate) {
  const Tokens prompt = prompt_of(1, 20);
  fail_everywhere(
      {prompt}, Opening::engine, [](FaultScene&) {},
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        const Talk talk = scene.begin(prompt);
        if (!scene.generate(talk, 16)) return;
        const Talk copy = scene.fork(talk);
        if (scene.truncate(copy, 34)) scene.generate(copy, 3);
        scene.generate(talk, 3);
        if (scene.truncate(talk, 22)) scene.generate(talk, 2);
      });
}

// Windows and full attention: pages slide out, and boundaries keep some.
TEST_F(EngineFaults, HybridPrefixHit) {
  model_ = "gemma3-q8_0.gguf";
  const Tokens first = prompt_of(1, 90);
  Tokens second = first;
  second.resize(70);
  second.insert(second.end(), {5, 4, 3});
  fail_everywhere(
      {first, second}, Opening::engine, [](FaultScene& scene) { scene.add_host_tier(); },
      [&](FaultScene& scene) {
        if (!scene.open_engine()) return;
        { scene.generate(scene.begin(first), 2); }
        const Talk talk = scene.begin(second);
        scene.generate(talk, 2);
        if (!scene.suspend(talk, KVI_TIER_HOST)) return;
        scene.wait_stored(KVI_TIER_HOST, 5 * scene.page_bytes());
        scene.generate(talk, 2);
      });
}

}  // namespace
}  // namespace kvi
