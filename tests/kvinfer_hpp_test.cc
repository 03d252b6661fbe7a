// The C++17 wrapper, with exceptions: the shape that programs have.
#include <gtest/gtest.h>

#include <kvinfer/kvinfer.hpp>
#include <optional>
#include <string>
#include <vector>

#include "support/temp_folder.h"

namespace {

const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";

kvinfer::EngineOptions small_engine() {
  return kvinfer::EngineOptions().num_threads(1).kv_budget_bytes(8u << 20);
}

kvinfer::GenerateOptions greedy(uint32_t max_tokens) {
  return kvinfer::GenerateOptions::greedy(max_tokens).ignore_eos();
}

TEST(KvinferHpp, ChunksOfAStreamMakeUpItsText) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once upon a time");
  const size_t prompt_len = session.tokens().size();
  auto stream = session.generate(greedy(24));
  std::string text;
  for (const auto& chunk : stream) text += chunk.text();
  EXPECT_EQ(text, stream.text());
  EXPECT_EQ(stream.finish(), kvinfer::Finish::length);
  EXPECT_EQ(stream.tokens().size(), 24u);
  EXPECT_EQ(stream.usage().prompt_tokens, prompt_len);
  EXPECT_EQ(session.tokens().size(), prompt_len + 24);
}

struct Thrown {};

TEST(KvinferHpp, WhatACallbackThrowsComesOutOfTheCallThatMadeIt) {
  EXPECT_THROW(
      kvinfer::Model::open(kModelPath, kvinfer::ModelOptions().progress(
                                           [](uint64_t, uint64_t) -> bool { throw Thrown(); })),
      Thrown);
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  EXPECT_THROW(session.save([](const void*, size_t) -> bool { throw Thrown(); }), Thrown);
  EXPECT_THROW(engine.load_session([](void*, size_t) -> std::optional<size_t> { throw Thrown(); }),
               Thrown);
  for (const auto& chunk : session.generate(greedy(3))) EXPECT_FALSE(chunk.text().empty());
}

TEST(KvinferHpp, WhatALogFunctionThrowsIsDropped) {
  int num_logged = 0;
  const kvi::TempFolder folder;
  const auto options = small_engine().disk_cache_bytes(1 << 20).disk_cache_folder(folder.path());
  const auto first = kvinfer::Engine::open(kModelPath, options);
  auto second = options;
  second.log([&](kvinfer::LogLevel, const char*) {
    ++num_logged;
    throw Thrown();
  });
  const auto engine = kvinfer::Engine::open(kModelPath, second);  // logs that the folder is in use
  EXPECT_GE(num_logged, 1);
}

TEST(KvinferHpp, FunctionsThatAreEmptyAreRefusedByName) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const auto saved = session.try_save(kvinfer::WriteFunction());
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().status(), kvinfer::Status::INVALID_ARGUMENT);
  EXPECT_NE(saved.error().message().find("write"), std::string::npos);
  const auto loaded = engine.try_load_session(kvinfer::ReadFunction());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().status(), kvinfer::Status::INVALID_ARGUMENT);
  EXPECT_NE(loaded.error().message().find("read"), std::string::npos);
}

TEST(KvinferHpp, OptionsThatWouldBeCutOrLostAreRefusedByName) {
  using kvinfer::EngineOptions;
  auto budget = kvinfer::Budget::create(1 << 20);
  const auto moved = std::move(budget);
  const auto refused = [](const EngineOptions& options, const char* name) {
    const auto engine = kvinfer::Engine::try_open(kModelPath, options);
    ASSERT_FALSE(engine) << name;
    EXPECT_EQ(engine.error().status(), kvinfer::Status::INVALID_ARGUMENT);
    EXPECT_NE(engine.error().message().find(name), std::string::npos) << engine.error().message();
  };
  refused(small_engine().shared_budget(budget), "shared_budget");
  refused(small_engine().eviction_policy(std::string("lru\0x", 5)), "eviction_policy");
  const kvi::TempFolder folder;
  refused(small_engine().disk_cache_bytes(1 << 20).disk_cache_folder(folder.path() +
                                                                     std::string("\0x", 2)),
          "disk_cache_folder");
  EXPECT_TRUE(kvinfer::Engine::try_open(kModelPath, small_engine().shared_budget(moved)));
}

TEST(KvinferHpp, ADestroyedStreamKeepsWhatWasMadeAndFreesItsSession) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const size_t before = session.tokens().size();
  {
    auto stream = session.generate(greedy(200));
    ASSERT_TRUE(stream.next());
  }
  EXPECT_GT(session.tokens().size(), before);  // and not BUSY
  session.truncate(static_cast<uint32_t>(before));
  EXPECT_EQ(session.tokens().size(), before);
}

TEST(KvinferHpp, ARolledBackStreamLeavesTheSessionAsItWas) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const auto before = session.tokens();
  auto stream = session.generate(greedy(250));
  stream.roll_back();
  while (stream.next()) continue;
  if (stream.finish() == kvinfer::Finish::cancelled) {
    EXPECT_EQ(session.tokens(), before);
  } else {
    EXPECT_EQ(stream.finish(), kvinfer::Finish::length);
  }
}

TEST(KvinferHpp, ErrorsCarryStatusAmountsAndWords) {
  try {
    kvinfer::Engine::open("/no/such/model.gguf");
    FAIL();
  } catch (const kvinfer::Error& error) {
    EXPECT_EQ(error.status(), kvinfer::Status::NOT_FOUND);
    EXPECT_STREQ(error.status_name(), "NOT_FOUND");
    EXPECT_NE(error.message().find("/no/such/model.gguf"), std::string::npos);
    EXPECT_FALSE(error.retryable());
  }
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  try {
    session.append(std::vector<int32_t>(1000, 1));
    FAIL();
  } catch (const kvinfer::Error& error) {
    EXPECT_EQ(error.status(), kvinfer::Status::CONTEXT_FULL);
    EXPECT_EQ(error.needed(), 1000u);
    EXPECT_EQ(error.available(), 256u);
  }
}

TEST(KvinferHpp, TokensDecodeToTheirTextAtOnceAndInAStream) {
  auto model = kvinfer::Model::open(kModelPath, kvinfer::ModelOptions().metadata_only());
  const std::string text = "h\u00e9llo \U0001f600 the world";
  const auto tokens = model.tokenize(text, kvinfer::AddBos::no);
  EXPECT_EQ(model.detokenize(tokens), text);
  auto decoder = model.decoder();
  std::string streamed;
  for (int32_t token : tokens) streamed += decoder.push(token);
  streamed += decoder.finish();
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(model.text(KVI_MODEL_ARCHITECTURE), "llama");
  EXPECT_EQ(model.metadata_value("llama.block_count"), "2");
}

TEST(KvinferHpp, AForkGoesItsOwnWay) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once upon");
  auto fork = session.fork();
  fork.append(" a time");
  EXPECT_GT(fork.tokens().size(), session.tokens().size());
  auto a = session.generate(greedy(8));
  auto b = fork.generate(greedy(8));  // beside each other
  while (a.next()) continue;
  while (b.next()) continue;
  EXPECT_EQ(a.tokens().size(), 8u);
  EXPECT_EQ(b.tokens().size(), 8u);
}

TEST(KvinferHpp, LogprobsAndScoresAreTheSameNumbers) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  auto stream = session.generate(greedy(6).top_logprobs(3));
  while (stream.next()) continue;
  const auto logprobs = stream.logprobs();
  const auto all = session.tokens();
  const auto scores = engine.score(all, all.size() - 6);
  EXPECT_EQ(scores.logprobs, logprobs);
  EXPECT_EQ(scores.top1, stream.tokens());
  ASSERT_EQ(stream.top_logprobs(0).size(), 3u);
  EXPECT_EQ(stream.top_logprobs(0)[0].token, stream.tokens()[0]);
}

TEST(KvinferHpp, ConversationsNeedATemplateAndSayWhatToDoWithoutOne) {
  auto model = kvinfer::Model::open(kModelPath, kvinfer::ModelOptions().metadata_only());
  const auto text = model.try_apply_template({{"user", "Hi"}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().status(), kvinfer::Status::UNSUPPORTED);
  EXPECT_NE(text.error().message().find("kvi_session_append"), std::string::npos);
  EXPECT_EQ(model.try_apply_template({{"", "Hi"}}).error().status(),
            kvinfer::Status::INVALID_ARGUMENT);
}

TEST(KvinferHpp, ABiasForbidsATokenAndForcesAnother) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  auto stream = session.generate(greedy(3).bias(65, 1000));
  while (stream.next()) continue;
  EXPECT_EQ(stream.tokens(), std::vector<int32_t>(3, 65));
}

TEST(KvinferHpp, PlansAreOfModelsAndOfShapes) {
  auto model = kvinfer::Model::open(kModelPath, kvinfer::ModelOptions().metadata_only());
  const kvi_plan of_model = model.plan(kvinfer::PlanOptions().max_num_seqs(3).max_model_len(64));
  EXPECT_EQ(of_model.kv_bytes, 3 * 64 * of_model.kv_bytes_per_token);

  const kvi_model_info info = model.info();
  kvi_model_shape shape = kvinfer::model_shape();
  shape.num_layers = info.num_layers;
  shape.num_heads = info.num_heads;
  shape.num_kv_heads = info.num_kv_heads;
  shape.embedding_len = info.embedding_len;
  shape.ffn_len = 128;
  shape.vocab_size = info.vocab_size;
  const kvi_plan of_shape = kvinfer::plan(
      shape, kvinfer::PlanOptions().max_num_seqs(3).max_model_len(64).kv_cache_dtype("f16"));
  EXPECT_EQ(of_shape.kv_bytes, of_model.kv_bytes);

  const auto refused = kvinfer::try_plan(
      shape, kvinfer::PlanOptions(kvinfer::Preset::throughput).kv_budget_bytes(1));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().status(), kvinfer::Status::EXHAUSTED);
  EXPECT_EQ(refused.error().available(), 1u);
}

TEST(KvinferHpp, MetricsAreText) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  auto stream = session.generate(greedy(6));
  while (stream.next()) continue;
  const std::string text = engine.metrics_text();
  EXPECT_NE(text.find("\n# TYPE vllm:generation_tokens_total counter\n"), std::string::npos);
  EXPECT_NE(text.find("\nvllm:generation_tokens_total{model_name=\"llama"), std::string::npos)
      << text;
  EXPECT_EQ(text.find('\0'), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

TEST(KvinferHpp, ASavedSessionGoesOnInAnotherEngine) {
  const kvi::TempFolder folder;
  const std::string path = folder.path("session.kvs");
  auto first = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = first.session();
  session.append("once upon a time");
  for (auto stream = session.generate(greedy(8)); stream.next();) continue;
  session.save(path);
  std::string bytes;
  session.save([&](const void* piece, size_t size) {
    bytes.append(static_cast<const char*>(piece), size);
    return true;
  });
  EXPECT_EQ(kvinfer::inspect_snapshot(path).size_bytes, bytes.size());
  EXPECT_EQ(kvinfer::verify_snapshot(path).reason, KVI_SNAPSHOT_COMPLETE);
  EXPECT_STREQ(kvinfer::snapshot_reason_name(KVI_SNAPSHOT_COMPLETE), "complete");
  const auto go_on = [](kvinfer::Session& from) {
    auto stream = from.generate(greedy(8));
    while (stream.next()) continue;
    return stream.tokens();
  };

  auto second = kvinfer::Engine::open(kModelPath, small_engine());
  auto loaded = second.load_session(path);
  EXPECT_EQ(loaded.taken.reason, KVI_SNAPSHOT_COMPLETE);
  EXPECT_EQ(loaded.taken.num_kv_tokens + 1, loaded.session.tokens().size());
  size_t offset = 0;
  const auto read = [&](void* buffer, size_t capacity) -> std::optional<size_t> {
    const size_t size = bytes.copy(static_cast<char*>(buffer), capacity, offset);
    offset += size;
    return size;
  };
  auto through_function = second.load_session(
      read, kvinfer::SnapshotOptions().allow_foreign_numerics().session(kvinfer::SessionOptions()));
  const auto expected = go_on(session);
  EXPECT_EQ(go_on(loaded.session), expected);
  EXPECT_EQ(go_on(through_function.session), expected);

  const auto failed = session.try_save([](const void*, size_t) { return false; });
  EXPECT_EQ(failed.error().status(), kvinfer::Status::IO);
  const auto unread = second.try_load_session(
      [](void*, size_t) -> std::optional<size_t> { return std::nullopt; });
  EXPECT_EQ(unread.error().status(), kvinfer::Status::IO);
  EXPECT_EQ(kvinfer::try_verify_snapshot("/no/such").error().status(), kvinfer::Status::NOT_FOUND);
}

TEST(KvinferHpp, ATimeoutEndsARequestAsCancelled) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  auto stream = session.generate(greedy(200).timeout(kvinfer::Milliseconds(0)));
  while (stream.next()) continue;
  EXPECT_EQ(stream.finish(), kvinfer::Finish::cancelled);
  EXPECT_STREQ(kvinfer::finish_name(stream.finish()), "cancelled");
}

TEST(KvinferHpp, TheLogNamesWhatFailedAndMaxQueuedIsChecked) {
  std::vector<std::string> messages;
  const auto log = [&](kvinfer::LogLevel, const char* message) { messages.push_back(message); };
  {
    auto engine = kvinfer::Engine::open(kModelPath, small_engine().log(log));
    engine.close();
  }
  ASSERT_FALSE(messages.empty());
  EXPECT_NE(messages[0].find(kModelPath), std::string::npos);
  const auto refused = kvinfer::Engine::try_open(kModelPath, small_engine().max_queued(UINT32_MAX));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("max_queued"), std::string::npos);
}

TEST(KvinferHpp, AWaiterFindsItsOwnObject) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  auto session = engine.session();
  session.append("once");
  const auto nothing = engine.try_wait(4, kvinfer::Milliseconds(0));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().status(), kvinfer::Status::TIMEOUT);
  int object = 0;
  auto stream = session.generate(greedy(4).user(&object));
  const std::vector<kvi_request*> ready = engine.wait();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0], stream.raw());
  EXPECT_EQ(kvi_request_user(ready[0]), &object);
  EXPECT_EQ(stream.user(), &object);
  while (stream.next()) continue;
}

TEST(KvinferHpp, AConstResultGivesItsValue) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine());
  const auto stats = engine.try_stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->kv_budget_bytes, 8u << 20);
  EXPECT_EQ((*stats).num_running, 0u);
  EXPECT_EQ(kvinfer::version(), kvi_version());
}

TEST(KvinferHpp, ASharedPrefixIsProbedPinnedAndRead) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine().cache_events(100));
  const std::vector<int32_t> system(48, 7);
  kvinfer::Probe probe = engine.probe("a", system);
  EXPECT_EQ(probe.first_miss(), 0u);
  EXPECT_EQ(probe.miss_reason(), kvinfer::MissReason::never_seen);
  EXPECT_STREQ(kvinfer::miss_reason_name(probe.miss_reason()), "never_seen");
  auto prefix = engine.preload("", system, kvinfer::PreloadOptions().scope(kvinfer::Scope::shared));
  EXPECT_EQ(prefix.info().num_tokens, 48u);
  EXPECT_EQ(engine.cache_stats().num_pins, 1u);
  EXPECT_EQ(engine.probe("a", system).tokens(kvinfer::Tier::device), 48u);
  const std::vector<kvi_cache_event> events = engine.cache_events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].kind, static_cast<int32_t>(kvinfer::EventKind::stored));
  EXPECT_EQ(events[2].num_tokens, 48u);

  const std::string tenant("a\0b", 3);
  auto session = engine.session(kvinfer::SessionOptions().tenant(tenant).priority(3));
  session.append(system);
  session.append(" and more", kvinfer::AddBos::no);
  auto stream = session.generate(greedy(4).priority(-3));
  while (stream.next()) continue;
  EXPECT_EQ(stream.usage().cached_tokens, 48u);
  auto apart = engine.session(kvinfer::SessionOptions().reads_shared(false).caches(false));
  apart.append(system);
  auto second = apart.generate(greedy(4));
  while (second.next()) continue;
  EXPECT_EQ(second.usage().cached_tokens, 0u);

  auto moved = std::move(prefix);
  EXPECT_EQ(prefix.raw(), nullptr);
  moved.reset();
  EXPECT_EQ(engine.cache_stats().num_pins, 0u);
  auto pin = engine.pin("b", system, kvinfer::PreloadOptions().band(kvinfer::Band::high));
  EXPECT_EQ(pin.info().num_tokens, 48u);
  EXPECT_EQ(engine.prefetch("b", system), 48u);
  pin.reset();
  engine.evict(tenant, session.tokens());
  session = engine.session();
  // What was prefetched is held until the engine has seen that it is there.
  while (engine.tier_stats(kvinfer::Tier::device).pinned_bytes > 0) continue;
  engine.clear_cache("nobody");
  EXPECT_GE(engine.probe("b", system).first_miss(), 48u);
  engine.clear_cache();
  EXPECT_LT(engine.probe("b", system).first_miss(), 48u);
}

TEST(KvinferHpp, ASuspendedSessionIsResumed) {
  auto engine = kvinfer::Engine::open(kModelPath, small_engine().host_cache_bytes(1u << 20));
  auto session = engine.session();
  session.append("once upon a time there was a page that came back");
  auto stream = session.generate(greedy(8));
  while (stream.next()) continue;
  session.suspend(kvinfer::Tier::host);
  EXPECT_EQ(session.info().suspended, 1u);
  while (engine.tier_stats(kvinfer::Tier::device).mapped_bytes > 0) engine.trim(UINT64_MAX);
  EXPECT_GT(engine.tier_stats(kvinfer::Tier::host).pinned_bytes, 0u);
  session.resume();
  auto rest = session.generate(greedy(8));
  while (rest.next()) continue;
  EXPECT_GT(rest.usage().host_tokens, 0u);
  EXPECT_EQ(rest.usage().disk_tokens, 0u);
  const auto refused = session.try_suspend(kvinfer::Tier::disk);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status(), kvinfer::Status::UNSUPPORTED);
}

TEST(KvinferHpp, ABudgetIsSharedAndChanged) {
  auto budget = kvinfer::Budget::create(4u << 20);
  const auto options = small_engine()
                           .kv_budget_bytes(4u << 20)
                           .kv_budget_max_bytes(8u << 20)
                           .kv_grow_at(0.9)
                           .kv_grow_factor(2)
                           .shared_budget(budget)
                           .eviction_policy("lru")
                           .tenant_share(1)
                           .cache_secret("a secret that stays")
                           .prefix_caching(true);
  {
    auto first = kvinfer::Engine::open(kModelPath, options);
    auto second = kvinfer::Engine::open(kModelPath, options);
    EXPECT_EQ(budget.info().num_engines, 2u);
    first.set_budget(2u << 20);
    EXPECT_EQ(first.tier_stats(kvinfer::Tier::device).budget_bytes, 2u << 20);
    budget.set_limit(1u << 20);
    EXPECT_EQ(budget.info().limit_bytes, 1u << 20);
    EXPECT_FALSE(first.try_set_budget(0));
  }
  const auto refused = kvinfer::Engine::try_open(kModelPath,
                                                 small_engine().eviction_policy("fifo"));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("fifo"), std::string::npos);
  EXPECT_FALSE(kvinfer::Budget::try_create(0));
}

TEST(KvinferHpp, AProgressFunctionAbortsLoading) {
  uint64_t seen = 0;
  const auto options = kvinfer::ModelOptions().progress([&](uint64_t, uint64_t total) {
    seen = total;
    return false;
  });
  auto model = kvinfer::Model::try_open(kModelPath, options);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().status(), kvinfer::Status::CANCELLED);
  EXPECT_GT(seen, 0u);
}

}  // namespace
