// Host and disk tiers through the public header: prefetch, suspend and resume, restart.
#include <filesystem>
#include <mutex>
#include <sstream>
#include <string>

#include "support/capi_cache.h"

namespace kvi {
namespace {

class CapiTiers : public CapiCache {
 protected:
  static std::string metrics_of(const Engine& engine) {
    std::string text(1 << 16, '\0');
    size_t needed = 0;
    ok([&](kvi_error** e) {
      return kvi_engine_metrics_text(engine.get(), text.data(), text.size(), &needed, e);
    });
    text.resize(needed);
    return text;
  }
  // Over all groups.
  static uint64_t kv_bytes(const std::string& metrics, const char* tier, const char* state) {
    uint64_t sum = 0;
    std::istringstream lines(metrics);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("kvinfer:kv_bytes{", 0) == 0 &&
          line.find(std::string("tier=\"") + tier + "\"") != std::string::npos &&
          line.find(std::string("state=\"") + state + "\"") != std::string::npos)
        sum += std::stoull(line.substr(line.find("} ") + 2));
    }
    return sum;
  }
  // What the metrics say of each tier is what its statistics say.
  static void expect_metrics_agree(const Engine& engine) {
    const std::pair<const char*, int32_t> tiers[] = {
        {"device", KVI_TIER_DEVICE}, {"host", KVI_TIER_HOST}, {"disk", KVI_TIER_DISK}};
    for (const auto& [name, tier] : tiers) {
      SCOPED_TRACE(name);
      const std::string metrics = metrics_of(engine);
      const kvi_tier_stats stats = tier_of(engine, tier);
      EXPECT_EQ(kv_bytes(metrics, name, "mapped"), stats.mapped_bytes);
      EXPECT_EQ(kv_bytes(metrics, name, "allocated"),
                tier == KVI_TIER_DEVICE ? stats.used_bytes : stats.pinned_bytes);
      EXPECT_EQ(kv_bytes(metrics, name, "cached"), stats.cached_bytes);
      EXPECT_EQ(kv_bytes(metrics, name, "deferred"), stats.deferred_bytes);
    }
  }
  // Until both tiers have been given so many pages.
  void settle(const Engine& engine, uint64_t stored_pages) {
    eventually("the copies were made", [&] {
      return tier_of(engine, KVI_TIER_HOST).stored_bytes >= stored_pages * page_bytes_ &&
             tier_of(engine, KVI_TIER_DISK).stored_bytes >= stored_pages * page_bytes_;
    });
  }
};

TEST_F(CapiTiers, MetricsOfAnIdleEngineAreThoseOfTheTiers) {
  const TempFolder folder;
  const Engine engine = open_tiers(folder);
  const Tokens prompt = random_tokens(70);
  const Session session = open_session(engine, "a");
  append(session, prompt);
  generate(session, 10);
  expect_metrics_agree(engine);
  ASSERT_EQ(suspend(session, KVI_TIER_HOST), KVI_OK);
  settle(engine, 5);
  EXPECT_GT(tier_of(engine, KVI_TIER_HOST).pinned_bytes, 0u);
  EXPECT_GT(tier_of(engine, KVI_TIER_DISK).cached_bytes, 0u);
  expect_metrics_agree(engine);
  move_down(engine, KVI_TIER_HOST, 5);
  EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).mapped_bytes, 0u);
  expect_metrics_agree(engine);
  ok([&](kvi_error** e) { return kvi_session_resume(session.get(), e); });
  eventually("the pages came back", [&] { return probe(engine, "a", prompt).device_tokens >= 64; });
  expect_metrics_agree(engine);
  Prefix pin = preload(engine, "b", random_tokens(49));
  expect_metrics_agree(engine);
  pin.reset();
  settle(engine, 8);
  expect_metrics_agree(engine);
  ok([&](kvi_error** e) { return kvi_cache_clear(engine.get(), "b", 1, e); });
  eventually("the copies are dropped", [&] { return trim(engine) == 0; });
  expect_metrics_agree(engine);
}

TEST_F(CapiTiers, PrefixPinnedBelowIsPrefetched) {
  const TempFolder folder;
  const Engine engine = open_tiers(folder);
  const Tokens tokens = random_tokens(64);
  for (int32_t tier : {KVI_TIER_HOST, KVI_TIER_DISK}) {
    ok([&](kvi_error** e) { return kvi_cache_clear(engine.get(), nullptr, 0, e); });
    const uint64_t stored = tier_of(engine, tier).stored_bytes / page_bytes_;
    const Prefix pin = preload(engine, "a", tokens, [&](auto& o) { o.pin_tier = tier; });
    EXPECT_EQ(info_of(pin).tier, tier);
    EXPECT_GE(tier_of(engine, tier).pinned_bytes, 4 * page_bytes_);
    move_down(engine, tier, stored + 4);
    const kvi_probe found = probe(engine, "a", tokens);
    EXPECT_EQ(found.first_miss, 64u);
    EXPECT_EQ(found.device_tokens, 0u);
    EXPECT_EQ(found.host_tokens + found.disk_tokens, 64u);
    Tokens other = tokens;  // its own way from the middle of a page on
    other[56] = (other[56] + 1) % kVocabSize;
    for (const auto& [wanted, there] : {std::pair(other, 48u), std::pair(tokens, 64u)}) {
      uint32_t num_tokens = 0;
      ok([&](kvi_error** e) {
        return kvi_cache_prefetch(engine.get(), "a", 1, wanted.data(), wanted.size(), &num_tokens,
                                  e);
      });
      EXPECT_EQ(num_tokens, there);
      eventually("what was prefetched is there",
                 [&] { return probe(engine, "a", wanted).device_tokens >= there; });
    }
    EXPECT_EQ(answer(engine, "a", tokens, 3).tokens, expected(tokens, 3));
  }
  EXPECT_EQ(stats_of(engine).failed_transfers, 0u);
  eventually("nothing is held", [&] { return tier_of(engine, KVI_TIER_DEVICE).used_bytes == 0; });
}

TEST_F(CapiTiers, SuspendedSessionsGoOnWhereTheyWere) {
  const TempFolder folder;
  const Engine engine = open_tiers(folder);
  for (int32_t tier : {KVI_TIER_HOST, KVI_TIER_DISK}) {
    for (bool resumes : {false, true}) {
      const Tokens prompt = random_tokens(70);
      const Tokens text = expected(prompt, 30);
      const uint64_t stored = tier_of(engine, tier).stored_bytes / page_bytes_;
      const Session session = open_session(engine, "a");
      append(session, prompt);
      Tokens made = generate(session, 10).tokens;
      EXPECT_EQ(info_of(session).suspended, 0u);
      ASSERT_EQ(suspend(session, tier), KVI_OK);
      EXPECT_EQ(info_of(session).suspended, 1u);
      EXPECT_EQ(info_of(session).kv_bytes, 0u);
      EXPECT_EQ(suspend(session, tier), KVI_OK);  // again: nothing happens
      EXPECT_EQ(info_of(session).suspended, 1u);
      move_down(engine, tier, stored + 5);
      EXPECT_GE(tier_of(engine, tier).pinned_bytes, 5 * page_bytes_);
      if (resumes) {
        ok([&](kvi_error** e) { return kvi_session_resume(session.get(), e); });
        eventually("the pages came back",
                   [&] { return probe(engine, "a", prompt).device_tokens >= 64; });
      }
      const Result rest = generate(session, 20);
      EXPECT_EQ(rest.usage.cached_tokens, 79u);  // all but what is to be computed
      EXPECT_EQ(rest.usage.host_tokens + rest.usage.disk_tokens, rest.usage.cached_tokens);
      EXPECT_EQ(info_of(session).suspended, 0u);
      made.insert(made.end(), rest.tokens.begin(), rest.tokens.end());
      EXPECT_EQ(made, text);
      EXPECT_EQ(tier_of(engine, tier).pinned_bytes, 0u);
    }
  }
  EXPECT_EQ(stats_of(engine).failed_transfers, 0u);
}

TEST_F(CapiTiers, SessionsThatDoNotCacheAreSuspendedForThemselves) {
  kvi_engine_options options = small_engine();
  options.host_cache_bytes = 4 << 20;
  const Engine engine = open(options);
  const Tokens prompt = random_tokens(70);
  const Session session = open_session(engine, "a", [](auto& o) { o.caches = 0; });
  append(session, prompt);
  Tokens made = generate(session, 10).tokens;
  ASSERT_EQ(suspend(session, KVI_TIER_HOST), KVI_OK);
  move_down(engine, KVI_TIER_HOST, 5);
  expect_probe(engine, "a", prompt, 0, KVI_MISS_NEVER_SEEN);
  const Result rest = generate(session, 20);
  EXPECT_GE(rest.usage.host_tokens, 64u);
  made.insert(made.end(), rest.tokens.begin(), rest.tokens.end());
  EXPECT_EQ(made, expected(prompt, 30));
}

TEST_F(CapiTiers, SuspendTellsWhichTierLacksOrIsFull) {
  const Engine without = open();
  const Session single = open_session(without);
  append(single, random_tokens(70));
  generate(single, 2);
  EXPECT_EQ(suspend(single, KVI_TIER_HOST), KVI_UNSUPPORTED);
  EXPECT_EQ(suspend(single, KVI_TIER_DISK), KVI_UNSUPPORTED);
  EXPECT_EQ(suspend(single, KVI_TIER_DEVICE), KVI_INVALID_ARGUMENT);
  EXPECT_EQ(suspend(single, 3), KVI_INVALID_ARGUMENT);
  EXPECT_EQ(info_of(single).suspended, 0u);
  EXPECT_GT(info_of(single).kv_bytes, 0u);

  kvi_engine_options options = small_engine();
  options.host_cache_bytes = 8 * page_bytes_;
  const Engine engine = open(options);
  std::vector<Session> sessions;
  for (int i = 0; i < 2; ++i) {
    sessions.push_back(open_session(engine, "a"));
    append(sessions.back(), random_tokens(79));
    generate(sessions.back(), 0);
  }
  ASSERT_EQ(suspend(sessions[0], KVI_TIER_HOST), KVI_OK);
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_session_suspend(sessions[1].get(), KVI_TIER_HOST, &error), KVI_EXHAUSTED);
  EXPECT_EQ(kvi_error_needed(error), 5 * page_bytes_);
  EXPECT_EQ(kvi_error_available(error), 3 * page_bytes_);
  EXPECT_EQ(kvi_error_retryable(error), 1);
  kvi_error_release(error);
  EXPECT_EQ(info_of(sessions[1]).suspended, 0u);
  EXPECT_GT(info_of(sessions[1]).kv_bytes, 0u);  // as it was
  sessions[0].reset();
  eventually("there is room", [&] { return suspend(sessions[1], KVI_TIER_HOST) == KVI_OK; });
}

TEST_F(CapiTiers, SuspendedSessionsMayBeCancelledForkedCutAndReleasedAtAnyTime) {
  const TempFolder folder;
  const Engine engine = open_tiers(folder);
  for (int i = 0; i < 60; ++i) {
    const int32_t tier = random_() % 2 == 0 ? KVI_TIER_HOST : KVI_TIER_DISK;
    Session session = open_session(engine, i % 3 == 0 ? "a" : "b",
                                   [&](auto& o) { o.caches = random_() % 4 != 0; });
    const Tokens prompt = random_tokens(20 + random_() % 150);
    append(session, prompt);
    generate(session, static_cast<uint32_t>(random_() % 3));
    ASSERT_EQ(suspend(session, tier), KVI_OK);
    switch (random_() % 6) {
      case 0: session.reset(); break;
      case 1: {
        const Request request = start(session, 50);
        kvi_request_cancel(request.get(), KVI_CANCEL, nullptr);
        EXPECT_EQ(finish(request).status, KVI_OK);
        break;
      }
      case 2: {
        const Request request = start(session, 50);
        session.reset();
        EXPECT_EQ(finish(request).status, KVI_OK);
        break;
      }
      case 3: {
        kvi_session* raw = nullptr;
        ok([&](kvi_error** e) { return kvi_session_fork(session.get(), &raw, e); });
        const Session fork(raw);
        session.reset();
        generate(fork, 2);
        break;
      }
      case 4:
        ok([&](kvi_error** e) { return kvi_session_truncate(session.get(), 17, e); });
        generate(session, 2);
        break;
      default:
        ok([&](kvi_error** e) { return kvi_session_resume(session.get(), e); });
        if (random_() % 2 == 0) session.reset();
    }
  }
  eventually("all is given back", [&] {
    return tier_of(engine, KVI_TIER_HOST).pinned_bytes == 0 &&
           tier_of(engine, KVI_TIER_DISK).pinned_bytes == 0 &&
           tier_of(engine, KVI_TIER_DEVICE).used_bytes == 0;
  });
  const Tokens prompt = random_tokens(50);
  EXPECT_EQ(answer(engine, "a", prompt, 5).tokens, expected(prompt, 5));
}

TEST_F(CapiTiers, RestartedEngineFindsItsPrefixesOnTheDisk) {
  const TempFolder folder;
  const Tokens prompt = random_tokens(70);
  const Tokens text = expected(prompt, 12);
  {
    const Engine engine = open_tiers(folder);
    EXPECT_EQ(answer(engine, "a", prompt, 12).tokens, text);
    eventually("the copies were made",
               [&] { return tier_of(engine, KVI_TIER_DISK).stored_bytes >= 6 * page_bytes_; });
    ok([&](kvi_error** e) { return kvi_engine_close(engine.get(), KVI_FOREVER, e); });
  }
  const Engine engine = open_tiers(folder);
  expect_probe(engine, "b", prompt, 0, KVI_MISS_TENANT);
  const kvi_probe found = probe(engine, "a", prompt);
  EXPECT_GE(found.disk_tokens, 64u);
  const Result result = answer(engine, "a", prompt, 12);
  EXPECT_GE(result.usage.disk_tokens, 64u);
  EXPECT_EQ(result.usage.host_tokens, 0u);
  EXPECT_EQ(result.tokens, text);
}

TEST_F(CapiTiers, ClosingStoresWhatBecameIdleLast) {
  const TempFolder folder;
  kvi_engine_options options = small_engine();
  options.disk_cache_bytes = 4 << 20;
  options.disk_cache_folder = folder.path().c_str();
  std::vector<Tokens> prompts;
  for (int i = 0; i < 10; ++i) prompts.push_back(random_tokens(240));  // more than goes at once
  {
    const Engine engine = open(options);
    std::vector<Session> sessions;
    for (const Tokens& prompt : prompts) {
      sessions.push_back(open_session(engine, "a"));
      append(sessions.back(), prompt);
      generate(sessions.back(), 1);
    }
    sessions.clear();
    ok([&](kvi_error** e) { return kvi_engine_close(engine.get(), KVI_FOREVER, e); });
  }
  const Engine engine = open(options);
  for (const Tokens& prompt : prompts) {
    EXPECT_EQ(probe(engine, "a", prompt).disk_tokens, prompt.size());
  }
}

TEST_F(CapiTiers, ProbeSaysInWhatTheEngineDiffersThatLeftAPrefixOnTheDisk) {
  const TempFolder folder;
  const Tokens prompt = random_tokens(70), unknown = random_tokens(70);
  struct Setup {
    const char* model;
    uint32_t page_len;
    int32_t activations;
  };
  // Engines in turn over one folder.
  const auto in_engine = [&](const Setup& setup, const std::function<void(const Engine&)>& run) {
    const std::string path = std::string(KVINFER_TEST_DATA) + "/models/tiny/" + setup.model;
    kvi_model* model = nullptr;
    ok([&](kvi_error** e) { return kvi_model_open(path.data(), path.size(), nullptr, &model, e); });
    model_.reset(model);
    kvi_engine_options options = small_engine();
    options.page_len = setup.page_len;
    options.activations = setup.activations;
    options.disk_cache_bytes = 4 << 20;
    options.disk_cache_folder = folder.path().c_str();
    const Engine engine = open(options);
    run(engine);
    ok([&](kvi_error** e) { return kvi_engine_close(engine.get(), KVI_FOREVER, e); });
  };
  const auto leave_prompt = [&](const Setup& setup) {
    in_engine(setup, [&](const Engine& engine) {
      answer(engine, "a", prompt, 4);  // the last of them is not computed
      const uint64_t num_pages = (73 + setup.page_len - 1) / setup.page_len;
      const uint64_t page_bytes = page_bytes_ / kPageLen * setup.page_len;
      eventually("the copies were made", [&] {
        return tier_of(engine, KVI_TIER_DISK).stored_bytes >= num_pages * page_bytes;
      });
    });
  };
  const Setup ours = {"llama-q4_1.gguf", 16, KVI_ACTIVATIONS_INT8};
  const auto expect_reason = [&](int32_t reason) {
    in_engine(ours, [&](const Engine& engine) {
      expect_probe(engine, "a", prompt, 0, reason);
      expect_probe(engine, "b", prompt, 0, KVI_MISS_NEVER_SEEN);
      expect_probe(engine, "a", unknown, 0, KVI_MISS_NEVER_SEEN);
      expect_probe(engine, "a", {}, 0, KVI_MISS_NONE);
    });
  };
  expect_reason(KVI_MISS_NEVER_SEEN);
  leave_prompt({"llama-q4_0.gguf", 16, KVI_ACTIVATIONS_INT8});
  expect_reason(KVI_MISS_MODEL);
  leave_prompt({"llama-q4_1.gguf", 32, KVI_ACTIVATIONS_INT8});
  expect_reason(KVI_MISS_LAYOUT);
  leave_prompt({"llama-q4_1.gguf", 16, KVI_ACTIVATIONS_F32});
  expect_reason(KVI_MISS_NUMERICS);

  // What our own index knows is said first.
  leave_prompt(ours);
  in_engine(ours, [&](const Engine& engine) {
    EXPECT_GE(probe(engine, "a", prompt).disk_tokens, 64u);
    expect_probe(engine, "b", prompt, 0, KVI_MISS_TENANT);
    ok([&](kvi_error** e) {
      return kvi_cache_evict(engine.get(), "a", 1, prompt.data(), prompt.size(), e);
    });
    expect_probe(engine, "a", prompt, 0, KVI_MISS_EVICTED);
  });
}

TEST_F(CapiTiers, SecondEngineOfAFolderRunsWithoutItsDiskTierAndLogsIt) {
  const TempFolder folder;
  const Engine first = open_tiers(folder);
  std::vector<std::string> messages;
  kvi_engine_options options = small_engine();
  options.disk_cache_bytes = 4 << 20;
  options.disk_cache_folder = folder.path().c_str();
  options.log_user = &messages;
  options.log = [](void* user, int32_t, const char* message) {
    static_cast<std::vector<std::string>*>(user)->push_back(message);
  };
  const Engine second = open(options);
  ASSERT_TRUE(second);
  ASSERT_FALSE(messages.empty());
  EXPECT_NE(messages[0].find(folder.path()), std::string::npos) << messages[0];
  EXPECT_EQ(tier_of(second, KVI_TIER_DISK).budget_bytes, 0u);
  EXPECT_GT(tier_of(first, KVI_TIER_DISK).budget_bytes, 0u);
  const Session session = open_session(second);
  append(session, random_tokens(30));
  generate(session, 2);
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_session_suspend(session.get(), KVI_TIER_DISK, &error), KVI_UNSUPPORTED);
  EXPECT_NE(std::string(kvi_error_message(error)).find(messages[0]), std::string::npos)
      << kvi_error_message(error);
  kvi_error_release(error);
}

// Its handle may live on, such as in a garbage-collected language.
TEST_F(CapiTiers, AClosedEngineLeavesItsFolderToTheNext) {
  const TempFolder folder;
  const Engine first = open_tiers(folder);
  ASSERT_EQ(kvi_engine_close(first.get(), KVI_FOREVER, nullptr), KVI_OK);
  const Engine second = open_tiers(folder);
  EXPECT_GT(tier_of(second, KVI_TIER_DISK).budget_bytes, 0u);
}

// The engine waits for its transfer thread, and a request for both.
TEST_F(CapiTiers, WhatWouldWaitIsRefusedWhereAFailureOfTheDiskIsLogged) {
  struct Seen {
    std::mutex mutex;
    kvi_engine* engine = nullptr;
    std::vector<kvi_status> statuses;
  } seen;
  const TempFolder folder;
  kvi_engine_options options = small_engine();
  options.disk_cache_bytes = 4 << 20;
  options.disk_cache_folder = folder.path().c_str();
  options.log_user = &seen;
  options.log = [](void* user, int32_t, const char* message) {
    Seen& seen = *static_cast<Seen*>(user);
    if (std::string(message).find("the disk tier fails") == std::string::npos) return;
    const int32_t tokens[] = {5, 6};
    float logprob = 0;
    kvi_prefix* prefix = nullptr;
    const std::lock_guard lock(seen.mutex);
    seen.statuses = {
        kvi_engine_close(seen.engine, 100, nullptr),
        kvi_score(seen.engine, tokens, 2, 1, &logprob, nullptr, nullptr, nullptr),
        kvi_generate(seen.engine, "x", 1, nullptr, nullptr, nullptr, nullptr, nullptr),
        kvi_cache_preload(seen.engine, "", 0, tokens, 2, nullptr, &prefix, nullptr),
    };
  };
  const Engine engine = open(options);
  seen.engine = engine.get();
  std::filesystem::remove_all(folder.path());
  const Session session = open_session(engine);
  append(session, random_tokens(70));
  generate(session, 2);
  suspend(session, KVI_TIER_DISK);
  eventually("it was logged", [&] {
    const std::lock_guard lock(seen.mutex);
    return !seen.statuses.empty();
  });
  EXPECT_EQ(seen.statuses, std::vector<kvi_status>(4, KVI_INVALID_STATE));
}

}  // namespace
}  // namespace kvi
