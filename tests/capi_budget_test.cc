// Budgets through the public header: absurd ones, shrinking under load, trim, and budgets that engines share.
#include "support/capi_cache.h"

namespace kvi {
namespace {

class CapiBudget : public CapiCache {};

TEST_F(CapiBudget, BudgetsOfAbsurdSizeAreRefusedAndLeaveTheEngineAsItWas) {
  const Engine engine = open();
  const Session session = open_session(engine);
  append(session, random_tokens(40));
  generate(session, 2);
  for (uint64_t bytes :
       {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, uint64_t{1} << 45, UINT64_MAX}) {
    kvi_error* error = nullptr;
    EXPECT_EQ(kvi_engine_set_budget(engine.get(), bytes, &error), KVI_INVALID_ARGUMENT) << bytes;
    EXPECT_NE(std::string(kvi_error_message(error)).find(std::to_string(bytes)), std::string::npos);
    kvi_error_release(error);
    EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).budget_bytes, 8u << 20);
  }
  generate(session, 2);
  kvi_budget* budget = nullptr;
  for (uint64_t bytes : {uint64_t{0}, uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_EQ(kvi_budget_create(bytes, &budget, nullptr), KVI_INVALID_ARGUMENT) << bytes;
  }
  ASSERT_EQ(kvi_budget_create(1, &budget, nullptr), KVI_OK);
  const Budget tiny(budget);
  EXPECT_EQ(kvi_budget_set_limit(budget, 0, nullptr), KVI_INVALID_ARGUMENT);
}

TEST_F(CapiBudget, ShrinkingTheBudgetUnderLoadFailsNobody) {
  kvi_engine_options options = small_engine();
  options.host_cache_bytes = 4 << 20;
  for (bool has_host : {false, true}) {
    if (!has_host) options.host_cache_bytes = 0;
    const Engine engine = open(options);
    options.host_cache_bytes = 4 << 20;
    const uint64_t granule = stats_of(engine).granule_bytes;
    std::vector<Tokens> prompts;
    std::vector<Session> sessions;
    std::vector<Request> requests;
    for (int i = 0; i < 8; ++i) {
      prompts.push_back(random_tokens(60 + random_() % 60));
      sessions.push_back(open_session(engine, i % 2 == 0 ? "a" : "b"));
      append(sessions.back(), prompts.back());
      requests.push_back(start(sessions.back(), 120));
    }
    // Room for the largest alone, and a little.
    const uint64_t least = (16 * page_bytes_ + granule - 1) / granule * granule + granule;
    for (uint64_t budget : {uint64_t{4} << 20, 3 * least, least, 2 * least, least}) {
      ok([&](kvi_error** e) { return kvi_engine_set_budget(engine.get(), budget, e); });
      eventually("what is mapped fits the budget", [&] {
        const kvi_tier_stats device = tier_of(engine, KVI_TIER_DEVICE);
        return device.budget_bytes == budget && device.mapped_bytes <= budget;
      });
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      const Result result = finish(requests[i]);
      EXPECT_EQ(result.status, KVI_OK) << result.message;
      EXPECT_EQ(result.tokens, expected(prompts[i], 120))
          << "request " << i << (has_host ? " with" : " without") << " a host tier";
    }
    EXPECT_LE(tier_of(engine, KVI_TIER_DEVICE).mapped_bytes, least);
  }
}

TEST_F(CapiBudget, TrimGivesCachedMemoryBackAndNothingThatIsHeld) {
  const Engine engine = open();
  const Session session = open_session(engine, "a");
  append(session, random_tokens(100));
  generate(session, 0);
  const uint64_t held = info_of(session).kv_bytes;
  for (int i = 0; i < 10; ++i) answer(engine, "a", random_tokens(200), 0);
  const uint64_t before = tier_of(engine, KVI_TIER_DEVICE).mapped_bytes;
  EXPECT_EQ(trim(engine, 0), 0u);
  const uint64_t some = trim(engine, 1);
  EXPECT_EQ(some, stats_of(engine).granule_bytes);
  const uint64_t all = trim(engine);
  EXPECT_EQ(before - some - all, tier_of(engine, KVI_TIER_DEVICE).mapped_bytes);
  EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).cached_bytes, 0u);
  EXPECT_EQ(info_of(session).kv_bytes, held);
  EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).used_bytes, held);
  ok([&](kvi_error** e) { return kvi_engine_trim(engine.get(), 1, nullptr, e); });
  EXPECT_EQ(generate(session, 2).usage.cached_tokens, 99u);
}

TEST_F(CapiBudget, EnginesOfOneBudgetLendEachOtherWhatTheyOnlyCache) {
  kvi_engine_options options = small_engine();
  const uint64_t limit = 1 << 20;
  kvi_budget* budget = nullptr;
  ASSERT_EQ(kvi_budget_create(limit, &budget, nullptr), KVI_OK);
  Budget shared(budget);
  options.shared_budget = budget;
  options.kv_budget_bytes = limit;
  const auto info = [&] {
    kvi_budget_info info;
    kvi_budget_info_init(&info, sizeof info);
    ok([&](kvi_error** e) { return kvi_budget_get_info(shared.get(), &info, e); });
    return info;
  };
  EXPECT_EQ(info().num_engines, 0u);
  EXPECT_EQ(info().leased_bytes, 0u);
  Engine engines[2] = {open(options), open(options)};
  EXPECT_EQ(info().num_engines, 2u);
  EXPECT_EQ(info().limit_bytes, limit);
  for (int round = 0; round < 4; ++round) {
    const Engine& flooded = engines[round % 2];
    for (uint64_t bytes = 0; bytes < 2 * limit; bytes += 13 * page_bytes_) {
      const Tokens prompt = random_tokens(200);
      const Result result = answer(flooded, "a", prompt, 3);
      ASSERT_EQ(result.status, KVI_OK) << result.message;
      ASSERT_LE(info().leased_bytes, limit);
    }
    EXPECT_EQ(tier_of(engines[0], KVI_TIER_DEVICE).mapped_bytes +
                  tier_of(engines[1], KVI_TIER_DEVICE).mapped_bytes,
              info().leased_bytes);
    const Tokens prompt = random_tokens(100);
    EXPECT_EQ(answer(flooded, "a", prompt, 3).tokens, expected(prompt, 3));
  }
  ok([&](kvi_error** e) { return kvi_budget_set_limit(shared.get(), limit / 4, e); });
  eventually("the engines gave back", [&] { return info().leased_bytes <= limit / 4; });
  engines[0].reset();
  eventually("one engine is left", [&] { return info().num_engines == 1; });
  shared.reset();
  answer(engines[1], "a", random_tokens(100), 3);
}

// Two engines of one budget of 20 pages; the first holds 15 of them by a pin.
class CapiSharedBudget : public CapiBudget {
 protected:
  CapiSharedBudget() {
    kvi_budget* budget = nullptr;
    ok([&](kvi_error** e) { return kvi_budget_create(20 * page_bytes_, &budget, e); });
    shared_.reset(budget);
    kvi_engine_options options = small_engine();
    options.shared_budget = budget;
    options.kv_budget_bytes = 64 * page_bytes_;
    holder_ = open(options);
    other_ = open(options);
    pin_ = preload(holder_, "", random_tokens(240));
  }
  // It needs as much.
  Request start_large(const Engine& engine, Session& session) {
    session = open_session(engine);
    append(session, random_tokens(240));
    return start(session, 4);
  }

  Budget shared_;
  Engine holder_, other_;
  Prefix pin_;
};

TEST_F(CapiSharedBudget, TwoThatAreShortDoNotKeepEachOtherWaitingWithTooLittleForEither) {
  GTEST_SKIP() << "known flaw: where the other engine gives back between a schedule and the look "
                  "at the budget, a "
                  "request is refused instead of tried again (one run in ten)";
  pin_.reset();
  Prefix pins[2] = {preload(holder_, "", random_tokens(120)),
                    preload(other_, "", random_tokens(120))};
  Session sessions[2];
  const Request requests[2] = {start_large(holder_, sessions[0]), start_large(other_, sessions[1])};
  EXPECT_EQ(kvi_request_await(requests[0].get(), 100, nullptr), KVI_TIMEOUT);
  EXPECT_EQ(kvi_request_await(requests[1].get(), 0, nullptr), KVI_TIMEOUT);
  for (Prefix& pin : pins) pin.reset();
  const auto end = [&](int i) {
    const Result result = finish(requests[i]);
    EXPECT_EQ(result.status, KVI_OK) << result.message;
    sessions[i].reset();
  };
  std::thread first([&] { end(0); });
  end(1);
  first.join();
}

TEST_F(CapiSharedBudget, WhoComesAfterOneThatWaitedInVainHasAWaitOfItsOwn) {
  Session sessions[3];
  const Request together[2] = {start_large(other_, sessions[0]), start_large(other_, sessions[1])};
  for (const Request& request : together) {
    kvi_error* error = nullptr;
    EXPECT_EQ(kvi_request_await(request.get(), KVI_FOREVER, &error), KVI_EXHAUSTED);
    EXPECT_EQ(kvi_error_needed(error), 15 * page_bytes_);
    EXPECT_EQ(kvi_error_available(error), 5 * page_bytes_);
    const std::string message = kvi_error_message(error);
    for (const uint64_t bytes : {20 * page_bytes_, 15 * page_bytes_, 5 * page_bytes_}) {
      EXPECT_NE(message.find(std::to_string(bytes)), std::string::npos) << message;
    }
    EXPECT_NE(message.find("the other engines of the budget hold"), std::string::npos) << message;
    kvi_error_release(error);
  }
  const Request late = start_large(other_, sessions[2]);
  pin_.reset();  // what it held stays cached
  const Result result = finish(late);
  EXPECT_EQ(result.status, KVI_OK) << result.message;
}

}  // namespace
}  // namespace kvi
