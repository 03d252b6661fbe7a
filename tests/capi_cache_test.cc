// The cache through the public header: defaults, probe, tenants, preload, pins, events. What each function answers to
// NULL and to absurd arguments is in capi_abuse_test.cc.
#include <cstring>

#include "support/capi_cache.h"

namespace kvi {
namespace {

TEST_F(CapiCache, DefaultsAreThoseOfTheHeader) {
  kvi_engine_options engine;
  ASSERT_EQ(kvi_engine_options_init(&engine, sizeof engine), KVI_OK);
  EXPECT_EQ(engine.kv_budget_max_bytes, 0u);
  EXPECT_EQ(engine.kv_grow_at, 0.8);
  EXPECT_EQ(engine.kv_grow_factor, 1.5);
  EXPECT_EQ(engine.shared_budget, nullptr);
  EXPECT_EQ(engine.prefix_caching, 1u);
  EXPECT_EQ(engine.cache_events, 0u);
  EXPECT_EQ(engine.eviction_policy, nullptr);
  EXPECT_EQ(engine.tenant_share, 0.5);
  EXPECT_EQ(engine.cache_secret, nullptr);
  EXPECT_EQ(engine.cache_secret_size, 0u);
  EXPECT_EQ(engine.host_cache_bytes, 0u);
  EXPECT_EQ(engine.disk_cache_bytes, 0u);
  EXPECT_EQ(engine.disk_cache_folder, nullptr);
  kvi_session_options session;
  ASSERT_EQ(kvi_session_options_init(&session, sizeof session), KVI_OK);
  EXPECT_EQ(session.priority, 0);
  EXPECT_EQ(session.tenant, nullptr);
  EXPECT_EQ(session.tenant_size, KVI_ZERO_TERMINATED);
  EXPECT_EQ(session.reads_shared, 1u);
  EXPECT_EQ(session.caches, 1u);
  kvi_generate_options generate;
  ASSERT_EQ(kvi_generate_options_init(&generate, sizeof generate), KVI_OK);
  EXPECT_EQ(generate.priority, KVI_SESSION_PRIORITY);
  kvi_preload_options preload;
  ASSERT_EQ(kvi_preload_options_init(&preload, sizeof preload), KVI_OK);
  EXPECT_EQ(preload.scope, KVI_SCOPE_TENANT);
  EXPECT_EQ(preload.pin_tier, KVI_TIER_DEVICE);
  EXPECT_EQ(preload.band, KVI_BAND_NORMAL);
  EXPECT_EQ(preload.ttl_ms, KVI_FOREVER);
  EXPECT_EQ(preload.timeout_ms, KVI_FOREVER);
  EXPECT_STREQ(kvi_miss_reason_name(KVI_MISS_NEVER_SEEN), "never_seen");
}

// ---- probe and tenants ----

TEST_F(CapiCache, ProbeNamesTheFirstMissAndItsReason) {
  const Engine engine = open();
  const Tokens prompt = random_tokens(70);
  expect_probe(engine, "a", prompt, 0, KVI_MISS_NEVER_SEEN);
  {
    const Session session = open_session(engine, "a");
    append(session, prompt);
    generate(session, 0);
    expect_probe(engine, "a", prompt, 64, KVI_MISS_NEVER_SEEN);  // whole pages, while it goes on
  }
  expect_probe(engine, "a", prompt, 70, KVI_MISS_NONE);
  expect_probe(engine, "b", prompt, 0, KVI_MISS_TENANT);
  Tokens other = prompt;
  other[37] = (other[37] + 1) % kVocabSize;
  expect_probe(engine, "a", other, 37, KVI_MISS_NEVER_SEEN);
  expect_probe(engine, "a", {}, 0, KVI_MISS_NONE);
  EXPECT_GE(trim(engine), 4 * page_bytes_);
  expect_probe(engine, "a", prompt, 0, KVI_MISS_EVICTED);
}

TEST_F(CapiCache, TenantsAreAnyBytesUpToAMebibyte) {
  const Engine engine = open();
  const Tokens prompt = random_tokens(40);
  const std::string with_nul("a\0b", 3), longest(1 << 20, 'x'), too_long((1 << 20) + 1, 'x');
  EXPECT_EQ(answer(engine, with_nul, prompt).usage.cached_tokens, 0u);
  EXPECT_EQ(answer(engine, with_nul, prompt).usage.cached_tokens, 39u);
  for (const std::string& tenant : {std::string("a"), std::string("a\0c", 3), std::string()}) {
    expect_probe(engine, tenant, prompt, 0, KVI_MISS_TENANT);
  }
  EXPECT_EQ(answer(engine, longest, prompt).usage.cached_tokens, 0u);
  EXPECT_EQ(answer(engine, longest, prompt).usage.cached_tokens, 39u);

  kvi_session_options options;
  kvi_session_options_init(&options, sizeof options);
  options.tenant = too_long.data();
  options.tenant_size = too_long.size();
  kvi_session* session = nullptr;
  EXPECT_EQ(kvi_session_create(engine.get(), &options, &session, nullptr), KVI_INVALID_ARGUMENT);
  options.tenant_size = KVI_ZERO_TERMINATED;
  EXPECT_EQ(kvi_session_create(engine.get(), &options, &session, nullptr), KVI_INVALID_ARGUMENT);
  kvi_probe found;
  kvi_probe_init(&found, sizeof found);
  kvi_prefix* prefix = nullptr;
  const auto with_tenant = [&](auto call) {
    EXPECT_EQ(call(too_long.data(), too_long.size()), KVI_INVALID_ARGUMENT);
  };
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_probe(engine.get(), name, size, prompt.data(), 40, &found, nullptr);
  });
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_preload(engine.get(), name, size, prompt.data(), 40, nullptr, &prefix,
                             nullptr);
  });
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_pin(engine.get(), name, size, prompt.data(), 40, nullptr, &prefix, nullptr);
  });
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_prefetch(engine.get(), name, size, prompt.data(), 40, nullptr, nullptr);
  });
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_evict(engine.get(), name, size, prompt.data(), 40, nullptr);
  });
  with_tenant([&](const char* name, size_t size) {
    return kvi_cache_clear(engine.get(), name, size, nullptr);
  });
}

TEST_F(CapiCache, SessionsThatDoNotCacheLeaveAndFindNothing) {
  const Engine engine = open();
  const Tokens prompt = random_tokens(40);
  for (int i = 0; i < 2; ++i) {
    const Session session = open_session(engine, "a", [](auto& o) { o.caches = 0; });
    append(session, prompt);
    EXPECT_EQ(generate(session, 2).usage.cached_tokens, 0u);
  }
  expect_probe(engine, "a", prompt, 0, KVI_MISS_NEVER_SEEN);
  answer(engine, "a", prompt);
  const Session session = open_session(engine, "a", [](auto& o) { o.caches = 0; });
  append(session, prompt);
  EXPECT_EQ(generate(session, 2).usage.cached_tokens, 0u);
}

TEST_F(CapiCache, EvictAndClearDropWhatIsNotInUse) {
  const Engine engine = open();
  const Tokens common = random_tokens(32);
  Tokens left = common, right = common;
  for (int32_t token : random_tokens(32)) left.push_back(token);
  for (int32_t token : random_tokens(32)) right.push_back(token);
  answer(engine, "a", left, 0);
  answer(engine, "a", right, 0);
  answer(engine, "b", left, 0);
  ok([&](kvi_error** e) {
    return kvi_cache_evict(engine.get(), "a", 1, left.data(), left.size(), e);
  });
  expect_probe(engine, "a", left, 32, KVI_MISS_EVICTED);
  expect_probe(engine, "a", right, 64, KVI_MISS_NONE);  // the common pages hang on it
  ok([&](kvi_error** e) { return kvi_cache_clear(engine.get(), "a", 1, e); });
  expect_probe(engine, "a", right, 0, KVI_MISS_EVICTED);
  expect_probe(engine, "b", left, 64, KVI_MISS_NONE);
  const Session user = open_session(engine, "c");
  append(user, left);
  generate(user, 0);
  ok([&](kvi_error** e) { return kvi_cache_clear(engine.get(), nullptr, 0, e); });
  expect_probe(engine, "b", left, 0, KVI_MISS_EVICTED);
  expect_probe(engine, "c", left, 64, KVI_MISS_NONE);  // in use
}

// ---- preload and pins ----

TEST_F(CapiCache, SharedPreloadIsReadByTenantsThatOptedIn) {
  const Engine engine = open();
  const Tokens system = random_tokens(48);
  const Prefix pin = preload(engine, "", system, [](auto& o) { o.scope = KVI_SCOPE_SHARED; });
  EXPECT_EQ(info_of(pin).num_tokens, 48u);
  EXPECT_EQ(info_of(pin).tier, KVI_TIER_DEVICE);
  EXPECT_EQ(stats_of(engine).num_pins, 1u);
  Tokens prompt = system;
  for (int32_t token : random_tokens(30)) prompt.push_back(token);
  const Tokens text = expected(prompt, 6);
  for (const char* tenant : {"a", "b"}) {
    expect_probe(engine, tenant, prompt, 48,
                 tenant == std::string("a") ? KVI_MISS_NEVER_SEEN : KVI_MISS_TENANT);
    const Result result = answer(engine, tenant, prompt, 6);
    EXPECT_EQ(result.usage.cached_tokens, 48u);
    EXPECT_EQ(result.tokens, text);
  }
  const Session apart = open_session(engine, "c", [](auto& o) { o.reads_shared = 0; });
  append(apart, prompt);
  const Result result = generate(apart, 6);
  EXPECT_EQ(result.usage.cached_tokens, 0u);
  EXPECT_EQ(result.tokens, text);

  const Tokens own = random_tokens(48);
  const Prefix of_a = preload(engine, "a", own);
  expect_probe(engine, "a", own, 48, KVI_MISS_NONE);
  expect_probe(engine, "b", own, 0, KVI_MISS_TENANT);
}

TEST_F(CapiCache, PinnedPrefixOutlivesEveryTrimUntilItIsReleased) {
  const Engine engine = open();
  const Tokens tokens = random_tokens(50);
  Prefix pin = preload(engine, "a", tokens);
  EXPECT_EQ(info_of(pin).num_tokens, 50u);
  trim(engine);
  expect_probe(engine, "a", tokens, 50, KVI_MISS_NONE);
  EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).pinned_bytes, 4 * page_bytes_);
  pin.reset();
  EXPECT_EQ(tier_of(engine, KVI_TIER_DEVICE).pinned_bytes, 0u);
  EXPECT_EQ(stats_of(engine).num_pins, 0u);
  expect_probe(engine, "a", tokens, 50, KVI_MISS_NONE);
  trim(engine);
  expect_probe(engine, "a", tokens, 0, KVI_MISS_EVICTED);
}

TEST_F(CapiCache, PinHoldsWhatIsCachedInWholePages) {
  const Engine engine = open();
  const Tokens prompt = random_tokens(70);
  kvi_prefix* none = nullptr;
  EXPECT_EQ(kvi_cache_pin(engine.get(), "a", 1, prompt.data(), 70, nullptr, &none, nullptr),
            KVI_NOT_FOUND);
  answer(engine, "a", prompt);
  EXPECT_EQ(kvi_cache_pin(engine.get(), "b", 1, prompt.data(), 70, nullptr, &none, nullptr),
            KVI_NOT_FOUND);
  EXPECT_EQ(none, nullptr);
  // Its own way from the middle of a page on.
  Tokens other = prompt;
  other[40] = (other[40] + 1) % kVocabSize;
  for (const auto& [tokens, held] : {std::pair(prompt, 64u), std::pair(other, 32u)}) {
    kvi_prefix* raw = nullptr;
    ok([&](kvi_error** e) {
      return kvi_cache_pin(engine.get(), "a", 1, tokens.data(), tokens.size(), nullptr, &raw, e);
    });
    const Prefix pin(raw);
    ASSERT_TRUE(pin);
    EXPECT_EQ(info_of(pin).num_tokens, held);
  }
  EXPECT_EQ(stats_of(engine).num_pins, 0u);
}

TEST_F(CapiCache, PinEndsWithItsTime) {
  const Engine engine = open();
  const Tokens tokens = random_tokens(32);
  const Prefix pin = preload(engine, "a", tokens, [](auto& o) { o.ttl_ms = 1; });
  eventually("the pin expired", [&] { return info_of(pin).held == 0; });
  EXPECT_EQ(stats_of(engine).num_pins, 0u);
  trim(engine);
  expect_probe(engine, "a", tokens, 0, KVI_MISS_EVICTED);
}

TEST_F(CapiCache, PinsMayBeReleasedAfterTheirEngine) {
  Engine engine = open();
  const Tokens tokens = random_tokens(32);
  Prefix first = preload(engine, "a", tokens), second = preload(engine, "b", tokens);
  ok([&](kvi_error** e) { return kvi_engine_close(engine.get(), KVI_FOREVER, e); });
  EXPECT_EQ(info_of(first).held, 0u);
  first.reset();
  engine.reset();
  EXPECT_EQ(info_of(second).held, 0u);
  second.reset();

  Engine open_one = open();
  Prefix third = preload(open_one, "a", tokens);
  open_one.reset();  // not closed: the pin keeps it
  EXPECT_EQ(info_of(third).held, 1u);
}

TEST_F(CapiCache, PreloadTellsWhyItCannot) {
  const Engine engine = open();
  kvi_prefix* prefix = nullptr;
  const Tokens longest = random_tokens(257);
  EXPECT_EQ(kvi_cache_preload(engine.get(), "", 0, longest.data(), 257, nullptr, &prefix, nullptr),
            KVI_CONTEXT_FULL);
  EXPECT_EQ(kvi_cache_preload(engine.get(), "", 0, longest.data(), 0, nullptr, &prefix, nullptr),
            KVI_INVALID_ARGUMENT);
  const int32_t outside = kVocabSize;
  EXPECT_EQ(kvi_cache_preload(engine.get(), "", 0, &outside, 1, nullptr, &prefix, nullptr),
            KVI_INVALID_ARGUMENT);
  kvi_preload_options options;
  kvi_preload_options_init(&options, sizeof options);
  const auto with = [&](auto change, kvi_status expected) {
    kvi_preload_options changed = options;
    change(changed);
    EXPECT_EQ(
        kvi_cache_preload(engine.get(), "", 0, longest.data(), 40, &changed, &prefix, nullptr),
        expected);
  };
  with([](auto& o) { o.scope = 2; }, KVI_INVALID_ARGUMENT);
  with([](auto& o) { o.pin_tier = 3; }, KVI_INVALID_ARGUMENT);
  with([](auto& o) { o.pin_tier = -1; }, KVI_INVALID_ARGUMENT);
  with([](auto& o) { o.band = 0; }, KVI_INVALID_ARGUMENT);
  with([](auto& o) { o.band = 4; }, KVI_INVALID_ARGUMENT);
  with([](auto& o) { o.pin_tier = KVI_TIER_HOST; }, KVI_UNSUPPORTED);
  with([](auto& o) { o.timeout_ms = 0; }, KVI_TIMEOUT);
  EXPECT_EQ(prefix, nullptr);
  EXPECT_EQ(stats_of(engine).num_pins, 0u);
}

// ---- events ----

// Four prefixes of one tenant where three fit; of which one each band makes go.
TEST_F(CapiCache, BandsSayWhatGoesFirstAlsoForASingleTenant) {
  for (const int32_t band : {KVI_BAND_LOW, KVI_BAND_NORMAL, KVI_BAND_HIGH}) {
    kvi_engine_options options = small_engine();
    options.kv_budget_bytes = 18 * page_bytes_;  // of five pages a prefix
    options.eviction_policy = "lru";
    const Engine engine = open(options);
    std::vector<Tokens> prefixes;
    for (int i = 0; i < 4; ++i) {
      prefixes.push_back(random_tokens(5 * kPageLen));
      // The oldest is HIGH, or the second LOW.
      const bool is_chosen = i == (band == KVI_BAND_HIGH ? 0 : 1);
      preload(engine, "a", prefixes.back(),
              [&](auto& o) { o.band = is_chosen ? band : KVI_BAND_NORMAL; });
    }
    const auto cached = [&](int i) {
      return probe(engine, "a", prefixes[static_cast<size_t>(i)]).first_miss;
    };
    const int goes = band == KVI_BAND_NORMAL ? 0 : 1;
    for (int i = 0; i < 4; ++i) {
      if (i == goes) {
        EXPECT_LT(cached(i), 5u * kPageLen) << "prefix " << i << ", band " << band;
      } else {
        EXPECT_EQ(cached(i), 5u * kPageLen) << "prefix " << i << ", band " << band;
      }
    }
  }
}

TEST_F(CapiCache, EventsTellWhatCameAndWentAndWhatWasLost) {
  kvi_engine_options options = small_engine();
  options.cache_events = 8;
  const Engine engine = open(options);
  const auto take = [&](size_t capacity) {
    std::vector<kvi_cache_event> events(capacity);
    if (capacity > 0) kvi_cache_event_init(events.data(), sizeof events[0]);
    size_t count = 99;
    ok([&](kvi_error** e) {
      return kvi_cache_events(engine.get(), events.data(), capacity, &count, e);
    });
    events.resize(count);
    return events;
  };
  EXPECT_TRUE(take(4).empty());
  const Session session = open_session(engine, "a");
  append(session, random_tokens(50));
  generate(session, 0);
  EXPECT_TRUE(take(0).empty());
  std::vector<kvi_cache_event> events = take(2);
  ASSERT_EQ(events.size(), 2u);
  events.push_back(take(8).at(0));
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[i].struct_size, sizeof events[i]);
    EXPECT_EQ(events[i].kind, KVI_EVENT_STORED);
    EXPECT_EQ(events[i].tier, KVI_TIER_DEVICE);
    EXPECT_EQ(events[i].num_tokens, 16 * (i + 1));
    EXPECT_EQ(events[i].number, i + 1);
    if (i > 0) {
      EXPECT_EQ(std::memcmp(events[i].parent, events[i - 1].key, 32), 0);
    }
  }
  append(session, random_tokens(150));
  generate(session, 0);  // 9 more pages, and room for 8 events
  events = take(100);
  ASSERT_EQ(events.size(), 8u);
  EXPECT_EQ(events[0].number, 5u);
  EXPECT_EQ(events[7].number, 12u);
  EXPECT_EQ(events[7].num_tokens, 192u);
  ok([&](kvi_error** e) { return kvi_session_truncate(session.get(), 32, e); });
  trim(engine);
  events = take(100);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().kind, KVI_EVENT_REMOVED);
  EXPECT_EQ(events.back().num_tokens, 48u);

  const Engine silent = open();
  size_t count = 0;
  EXPECT_EQ(kvi_cache_events(silent.get(), events.data(), 1, &count, nullptr), KVI_INVALID_STATE);
}

// ---- the end ----

TEST_F(CapiCache, EverythingAfterCloseIsClosed) {
  kvi_engine_options options = small_engine();
  options.host_cache_bytes = 1 << 20;
  options.cache_events = 10;
  const Engine engine = open(options);
  const Tokens tokens = random_tokens(40);
  const Session session = open_session(engine, "a");
  append(session, tokens);
  generate(session, 2);
  ok([&](kvi_error** e) { return kvi_engine_close(engine.get(), KVI_FOREVER, e); });
  kvi_probe found;
  kvi_probe_init(&found, sizeof found);
  kvi_prefix* prefix = nullptr;
  kvi_cache_event event;
  kvi_cache_event_init(&event, sizeof event);
  size_t count = 0;
  kvi_engine* e = engine.get();
  EXPECT_EQ(kvi_cache_probe(e, "a", 1, tokens.data(), 40, &found, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_preload(e, "a", 1, tokens.data(), 40, nullptr, &prefix, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_pin(e, "a", 1, tokens.data(), 40, nullptr, &prefix, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_prefetch(e, "a", 1, tokens.data(), 40, nullptr, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_evict(e, "a", 1, tokens.data(), 40, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_clear(e, "a", 1, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_cache_events(e, &event, 1, &count, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_engine_set_budget(e, 4 << 20, nullptr), KVI_CLOSED);
  EXPECT_EQ(kvi_engine_trim(e, 1, nullptr, nullptr), KVI_CLOSED);
  EXPECT_EQ(suspend(session, KVI_TIER_HOST), KVI_CLOSED);
  EXPECT_EQ(kvi_session_resume(session.get(), nullptr), KVI_CLOSED);
  EXPECT_EQ(prefix, nullptr);
  stats_of(engine);  // the counters stay
  tier_of(engine, KVI_TIER_DEVICE);
}

}  // namespace
}  // namespace kvi
