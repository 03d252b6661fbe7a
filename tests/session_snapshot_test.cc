// Sessions saved and loaded through the engine: what goes on from a snapshot goes on bit for bit, whatever was taken
// of it, and no failure of a file or a function leaves anything behind.
#include "engine/session_snapshot.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "base/replacement_file.h"
#include "engine/engine.h"
#include "engine/snapshot_file.h"
#include "sim/faulty_file_system.h"
#include "sim/memory_file_system.h"
#include "support/expect_error.h"
#include "support/output.h"
#include "support/seed.h"
#include "support/snapshot_sample.h"

namespace kvi {
namespace {

using Tokens = std::vector<TokenId>;

std::shared_ptr<const LoadedModel> open_tiny(const std::string& name) {
  return LoadedModel::open(std::string(KVINFER_TEST_DATA) + "/models/tiny/" + name, {});
}

EngineOptions engine_options(uint32_t page_len = 16) {
  EngineOptions options;
  options.num_threads = 1;
  options.page_len = page_len;
  options.kv_budget_bytes = 16 << 20;
  return options;
}

void append(Session& session, const Tokens& tokens) {
  const Part part = std::span<const TokenId>(tokens);
  session.append({&part, 1});
}

Output generate(Session& session, uint32_t max_tokens = 12) {
  return output_of(*session.generate(sampled(11, max_tokens), nullptr));
}

std::string saved(Session& session) {
  std::string bytes;
  session.save(sink_into(bytes));
  return bytes;
}

struct Loaded {
  std::shared_ptr<Session> session;
  SessionLoad result;
};

Loaded load(Engine& engine, const SnapshotSource& source,
            ForeignNumerics foreign = ForeignNumerics::refuse) {
  Loaded loaded;
  loaded.session = engine.load_session(source, {.session = {}, .foreign_numerics = foreign},
                                       loaded.result);
  return loaded;
}

class SessionSnapshotTest : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<Engine> engine(const EngineOptions& options = engine_options()) const {
    return Engine::create(model_, options);
  }
  Tokens random_tokens(size_t count) {
    Tokens tokens(count);
    for (TokenId& token : tokens) {
      token = static_cast<TokenId>(random_() % static_cast<uint64_t>(model_->config().vocab_size));
    }
    return tokens;
  }
  // A session with a prompt of so many tokens, and an answer of 5.
  std::shared_ptr<Session> talked(Engine& engine, size_t prompt_len,
                                  const SessionOptions& options = {}) {
    std::shared_ptr<Session> session = engine.create_session(options);
    append(*session, random_tokens(prompt_len));
    generate(*session, 5);
    return session;
  }
  // What a session that never saw a snapshot says after these tokens.
  Output cold(const Tokens& tokens) const {
    const std::shared_ptr<Engine> fresh = engine();
    const std::shared_ptr<Session> session = fresh->create_session();
    append(*session, tokens);
    const Output output = generate(*session);
    EXPECT_EQ(output.usage.cached_tokens, 0u);
    return output;
  }

  std::mt19937_64 random_{test_seed()};
  const std::shared_ptr<const LoadedModel> model_ = open_tiny(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Models, SessionSnapshotTest,
                         testing::Values("llama-q4_1.gguf", "gemma3-q4_k_m.gguf", "gpt2-f32.gguf"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(0, name.find('-'));
                         });

TEST_P(SessionSnapshotTest, LoadedSessionGoesOnBitForBitAndComputesNothingAgain) {
  for (const size_t prompt_len : {1, 11, 27, 90, 150}) {
    const std::shared_ptr<Engine> first = engine();
    const std::shared_ptr<Session> session = talked(*first, prompt_len);
    const Tokens tokens = session->tokens();
    const std::string bytes = saved(*session);
    const Output expected = cold(tokens);
    EXPECT_EQ(generate(*session), expected);

    const std::shared_ptr<Engine> second = engine();
    const Loaded loaded = load(*second, source_of(bytes));
    EXPECT_EQ(loaded.result.reason.stop, SnapshotStop::complete) << loaded.result.reason.text;
    EXPECT_EQ(loaded.session->tokens(), tokens);
    EXPECT_EQ(loaded.result.num_tokens, std::ssize(tokens));
    EXPECT_EQ(loaded.result.kv_len, std::ssize(tokens) - 1);
    EXPECT_EQ(loaded.session->info().num_computed_tokens, tokens.size() - 1);
    const Output output = generate(*loaded.session);
    EXPECT_EQ(output.usage.cached_tokens, tokens.size() - 1);
    EXPECT_EQ(output, expected);
  }
}

TEST_P(SessionSnapshotTest, SavingTwiceGivesTheSameBytesAndASavedLoadedSessionToo) {
  const std::shared_ptr<Engine> first = engine(), second = engine();
  const std::shared_ptr<Session> session = talked(*first, 75);
  const std::string bytes = saved(*session);
  EXPECT_EQ(saved(*session), bytes);
  const Loaded loaded = load(*second, source_of(bytes));
  EXPECT_EQ(saved(*loaded.session), bytes);
}

TEST_P(SessionSnapshotTest, AnEmptySessionAndOneWithoutKvAreSavedToo) {
  const std::shared_ptr<Engine> both = engine();
  const std::shared_ptr<Session> session = both->create_session();
  EXPECT_EQ(load(*both, source_of(saved(*session))).result.num_tokens, 0);
  const Tokens tokens = random_tokens(40);
  append(*session, tokens);
  const Loaded loaded = load(*both, source_of(saved(*session)));
  EXPECT_EQ(loaded.result.reason.stop, SnapshotStop::complete);
  EXPECT_EQ(loaded.result.num_tokens, 40);
  EXPECT_EQ(loaded.result.kv_len, 0);
  EXPECT_EQ(generate(*loaded.session), cold(tokens));
}

TEST_P(SessionSnapshotTest, NobodyFindsWhatCameFromASnapshot) {
  const std::shared_ptr<Engine> first = engine(), second = engine();
  const std::shared_ptr<Session> session = talked(*first, 90);
  const Loaded loaded = load(*second, source_of(saved(*session)));
  const std::shared_ptr<Session> fork = loaded.session->fork();
  EXPECT_EQ(generate(*fork), generate(*loaded.session));
  const Tokens tokens = loaded.session->tokens();
  const std::shared_ptr<Session> other = second->create_session();
  append(*other, tokens);
  EXPECT_EQ(generate(*other).usage.cached_tokens, 0u);
}

TEST_P(SessionSnapshotTest, AnotherPageLenTakesTheTokensAloneAndTheyAreIndexed) {
  const std::shared_ptr<Engine> first = engine(), second = engine(engine_options(32));
  const std::shared_ptr<Session> session = talked(*first, 90);
  const Tokens tokens = session->tokens();
  const Loaded loaded = load(*second, source_of(saved(*session)));
  EXPECT_EQ(loaded.result.reason.stop, SnapshotStop::other_layout);
  EXPECT_EQ(loaded.result.reason.text, "the page length is 16; this engine has 32");
  EXPECT_EQ(loaded.result.num_tokens, std::ssize(tokens));
  EXPECT_EQ(loaded.result.kv_len, 0);
  const Output output = generate(*loaded.session);
  EXPECT_EQ(output.usage.cached_tokens, 0u);
  EXPECT_EQ(output, cold(tokens));
  const std::shared_ptr<Session> other = second->create_session();
  append(*other, loaded.session->tokens());
  EXPECT_GE(generate(*other).usage.cached_tokens, 64u);
}

TEST_P(SessionSnapshotTest, OtherNumericsAreRefusedUnlessAllowedAndThenNeverShared) {
  EngineOptions exact = engine_options();
  exact.precision = Precision::f32_activations;
  const std::shared_ptr<Engine> first = engine(exact), second = engine();
  const std::shared_ptr<Session> session = talked(*first, 90);
  const Tokens tokens = session->tokens();
  const std::string bytes = saved(*session);

  const Loaded refused = load(*second, source_of(bytes));
  EXPECT_EQ(refused.result.reason.stop, SnapshotStop::other_numerics);
  EXPECT_EQ(refused.result.kv_len, 0);
  EXPECT_EQ(generate(*refused.session), cold(tokens));
  refused.session->truncate(0);

  const std::shared_ptr<Engine> third = engine();
  const Loaded taken = load(*third, source_of(bytes), ForeignNumerics::accept);
  EXPECT_EQ(taken.result.reason.stop, SnapshotStop::complete);
  EXPECT_EQ(taken.result.kv_len, std::ssize(tokens) - 1);
  EXPECT_EQ(generate(*taken.session->fork()).usage.cached_tokens, tokens.size() - 1);
  EXPECT_EQ(generate(*taken.session).usage.cached_tokens, tokens.size() - 1);
  const std::shared_ptr<Session> other = third->create_session();
  append(*other, tokens);
  const Output own = generate(*other);
  EXPECT_EQ(own.usage.cached_tokens, 0u);
  EXPECT_EQ(own, cold(tokens));
}

TEST_P(SessionSnapshotTest, AnotherModelIsRefused) {
  const std::shared_ptr<Engine> first = engine();
  const std::string bytes = saved(*talked(*first, 20));
  const std::shared_ptr<Engine> second = Engine::create(open_tiny("llama-q8_0.gguf"),
                                                        engine_options());
  EXPECT_ERROR(load(*second, source_of(bytes)), UNSUPPORTED, "the model's fingerprint");
}

TEST_P(SessionSnapshotTest, SuspendedSessionSavesItsKvAndStaysSuspended) {
  EngineOptions options = engine_options();
  options.host_cache_bytes = 16 << 20;
  const std::shared_ptr<Engine> first = engine(options), second = engine();
  const std::shared_ptr<Session> session = talked(*first, 90);
  const Tokens tokens = session->tokens();
  const std::string before = saved(*session);
  session->suspend(TierId::host);
  EXPECT_EQ(saved(*session), before);
  EXPECT_EQ(session->info().num_computed_tokens, 0u);
  EXPECT_EQ(first->stats().kv_used_bytes, 0u);
  session->resume();
  EXPECT_EQ(saved(*session), before);  // what is on its way back is waited for
  session->suspend(TierId::host);
  const Output expected = cold(tokens);
  const Loaded loaded = load(*second, source_of(before));
  EXPECT_EQ(loaded.result.kv_len, std::ssize(tokens) - 1);
  EXPECT_EQ(generate(*loaded.session), expected);
  const Output resumed = generate(*session);
  EXPECT_EQ(resumed, expected);
  EXPECT_EQ(resumed.usage.cached_tokens, tokens.size() - 1);
}

TEST_P(SessionSnapshotTest, LoadedSessionIsSuspendedAndResumed) {
  EngineOptions options = engine_options();
  options.host_cache_bytes = 16 << 20;
  const std::shared_ptr<Engine> both = engine(options);
  // A window of 24 tokens that begins in one page here and at the last whole page before: what the cache finds again.
  const std::shared_ptr<Session> session = talked(*both, 81);
  const Tokens tokens = session->tokens();
  const Loaded loaded = load(*both, source_of(saved(*session)));
  loaded.session->suspend(TierId::host);
  EXPECT_EQ(loaded.session->info().num_computed_tokens, 0u);
  const Output resumed = generate(*loaded.session);
  EXPECT_EQ(resumed.usage.cached_tokens, tokens.size() - 1);
  EXPECT_EQ(resumed, cold(tokens));
}

TEST_P(SessionSnapshotTest, BudgetThatCannotHoldItIsExhaustedAndNothingIsKept) {
  const std::shared_ptr<Engine> first = engine();
  const std::shared_ptr<Session> session = talked(*first, 150);
  const std::string bytes = saved(*session);
  const uint64_t needed = first->stats().kv_used_bytes;
  EngineOptions small = engine_options();
  small.kv_budget_bytes = needed / 2;
  const std::shared_ptr<Engine> second = engine(small);
  try {
    load(*second, source_of(bytes));
    FAIL() << "the session was loaded into half of what it needs";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::EXHAUSTED);
    EXPECT_GT(error.needed(), error.available());
    EXPECT_FALSE(error.is_retryable());
  }
  EXPECT_EQ(second->stats().kv_used_bytes, 0u);
  EXPECT_EQ(second->stats().num_sessions, 0u);
}

TEST_P(SessionSnapshotTest, IdleSessionsGiveTheirPagesUpForALoadedOne) {
  const std::shared_ptr<Engine> first = engine();
  const std::shared_ptr<Session> session = talked(*first, 140);
  const Tokens tokens = session->tokens();
  const std::string bytes = saved(*session);
  EngineOptions small = engine_options();
  small.max_batch_tokens = 16;  // a prompt takes little more than it leaves
  small.kv_budget_bytes = first->stats().kv_used_bytes * 7 / 4;
  const std::shared_ptr<Engine> second = engine(small);
  const std::shared_ptr<Session> idle = talked(*second, 140);
  const Loaded loaded = load(*second, source_of(bytes));
  EXPECT_EQ(loaded.result.kv_len, std::ssize(tokens) - 1);
  EXPECT_EQ(idle->info().kv_bytes, 0u);
  EXPECT_EQ(generate(*loaded.session), cold(tokens));
}

TEST_P(SessionSnapshotTest, OthersGoOnWhileASessionIsSavedOrLoaded) {
  const std::shared_ptr<Engine> both = engine(), second = engine();
  const std::shared_ptr<Session> session = talked(*both, 90);
  const std::string undisturbed = saved(*session);
  const Tokens prompt = random_tokens(30);
  const Output expected = [&] {
    const std::shared_ptr<Session> alone = second->create_session();
    append(*alone, prompt);
    return generate(*alone, 40);
  }();
  const auto talk_beside = [&] {
    const std::shared_ptr<Session> other = both->create_session();
    append(*other, prompt);
    EXPECT_EQ(generate(*other, 40), expected);
  };
  std::string bytes;
  const SnapshotSink into = sink_into(bytes);
  int num_pieces = 0;
  session->save([&](std::span<const std::byte> piece) {
    into(piece);
    if (++num_pieces % 5 == 0) talk_beside();
    EXPECT_ERROR(saved(*session), BUSY, "in use");
  });
  EXPECT_GT(num_pieces, 10);
  EXPECT_EQ(bytes, undisturbed);
  int num_reads = 0;
  const Loaded loaded = load(*both, [&, whole = source_of(bytes)](std::span<std::byte> to) {
    if (++num_reads % 10 == 0) talk_beside();
    return whole(to);
  });
  EXPECT_GT(num_reads, 10);
  EXPECT_EQ(generate(*loaded.session), generate(*session));
}

TEST_P(SessionSnapshotTest, AFailingSinkOrSourceLeavesNothingHalfMade) {
  const std::shared_ptr<Engine> both = engine();
  const std::shared_ptr<Session> session = talked(*both, 60);
  const Tokens tokens = session->tokens();
  const uint64_t used = both->stats().kv_used_bytes;
  int num_pieces = 0;
  session->save([&](auto) { ++num_pieces; });
  EXPECT_GT(num_pieces, 10);
  for (int failing = 0; failing < num_pieces; ++failing) {
    int piece = 0;
    EXPECT_ERROR(session->save([&](auto) {
      if (piece++ == failing) throw Error(Status::CANCELLED, "enough");
    }),
                 CANCELLED, "enough");
    EXPECT_EQ(both->stats().kv_used_bytes, used);
  }
  const std::string bytes = saved(*session);
  int num_reads = 0;
  const auto failing_at = [&](int failing) {
    num_reads = 0;
    return [&, failing, whole = source_of(bytes)](std::span<std::byte> to) {
      if (num_reads++ == failing) throw Error(Status::CANCELLED, "enough");
      return whole(to);
    };
  };
  load(*both, failing_at(-1));
  const int all_reads = num_reads;
  for (int failing = 0; failing < all_reads; ++failing) {
    EXPECT_ERROR(load(*both, failing_at(failing)), CANCELLED, "enough");
    EXPECT_EQ(both->stats().kv_used_bytes, used);
    EXPECT_EQ(both->stats().num_sessions, 1u);
  }
  EXPECT_EQ(generate(*session), cold(tokens));
}

// Whatever is left of a snapshot gives a prefix of the tokens, and what is generated after it is what those tokens
// give in any other way.
TEST_P(SessionSnapshotTest, DamagedSnapshotsGiveAPrefixThatGoesOnRight) {
  EngineOptions options = engine_options();
  options.prefix_caching = false;  // what is cached then came from the snapshot
  const std::shared_ptr<Engine> both = engine(options);
  const std::shared_ptr<Session> session = talked(*both, 90);
  const Tokens tokens = session->tokens();
  const std::string bytes = saved(*session);
  std::map<size_t, Output> expected;  // by how many tokens were kept
  int num_with_kv = 0, num_shorter = 0;
  for (int i = 0; i < 60; ++i) {
    std::string damaged = bytes;
    const size_t at = random_() % bytes.size();
    if (i % 2 == 0) {
      damaged.resize(at);
    } else {
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << random_() % 8));
    }
    SCOPED_TRACE((i % 2 == 0 ? "cut at " : "flipped at ") + std::to_string(at));
    Loaded loaded;
    try {
      loaded = load(*both, source_of(damaged));
    } catch (const Error& error) {
      EXPECT_TRUE(error.status() == Status::CORRUPT || error.status() == Status::UNSUPPORTED)
          << error.message();
      continue;
    }
    EXPECT_NE(loaded.result.reason.stop, SnapshotStop::complete);
    const Tokens kept = loaded.session->tokens();
    ASSERT_LE(kept.size(), tokens.size());
    EXPECT_TRUE(std::equal(kept.begin(), kept.end(), tokens.begin()));
    ASSERT_LE(loaded.result.kv_len, loaded.result.num_tokens);
    if (kept.empty()) continue;
    const Output output = generate(*loaded.session);
    EXPECT_EQ(output.usage.cached_tokens, std::min<size_t>(kept.size() - 1, loaded.result.kv_len));
    if (!expected.contains(kept.size())) expected[kept.size()] = cold(kept);
    EXPECT_EQ(output, expected[kept.size()]);
    num_with_kv += loaded.result.kv_len > 0;
    num_shorter += loaded.result.kv_len < std::ssize(tokens) - 1;
  }
  EXPECT_GT(num_shorter, 0);
  if (std::string(GetParam()).starts_with("llama")) {
    EXPECT_GT(num_with_kv, 0);  // without windows the pages before the damage serve
  }
}

TEST_P(SessionSnapshotTest, EveryFileCallFailsInTurnOnceAndForEver) {
  const auto memory = std::make_shared<MemoryFileSystem>();
  const auto files = std::make_shared<FaultyFileSystem>(memory, test_seed());
  memory->make_folder("/f");
  const std::string path = "/f/session.kvs";
  const std::shared_ptr<Engine> both = engine();
  const std::shared_ptr<Session> session = talked(*both, 40);
  const Tokens tokens = session->tokens();
  const Output expected = cold(tokens);
  const uint64_t used = both->stats().kv_used_bytes;
  const auto save = [&] {
    ReplacementFile file(path, files);
    session->save(snapshot_sink(file));
    file.commit();
  };
  save();
  const int64_t num_save_calls = files->num_calls();
  const std::vector<std::byte> whole = memory->content(path);
  files->reset();
  load(*both, snapshot_source(path, files));
  const int64_t num_load_calls = files->num_calls();
  const std::string older = "what was there before";
  int num_failed = 0, num_less = 0;
  for (const Fault::Kind kind : {Fault::Kind::error, Fault::Kind::too_short, Fault::Kind::torn,
                                 Fault::Kind::bit_flip, Fault::Kind::vanish}) {
    for (const bool for_ever : {false, true}) {
      for (int64_t nth = 1; nth <= num_save_calls; ++nth) {
        SCOPED_TRACE("save, call " + std::to_string(nth));
        memory->set_content(path, std::as_bytes(std::span(older)));
        files->reset();
        files->inject({.kind = kind, .nth = nth, .for_ever = for_ever, .error = ENOSPC});
        bool failed = false;
        try {
          save();
        } catch (const Error& error) {
          failed = true;
          EXPECT_TRUE(error.status() == Status::IO || error.status() == Status::NOT_FOUND);
          EXPECT_NE(error.message().find(path), std::string::npos) << error.message();
        }
        num_failed += failed;
        const std::vector<std::byte> content = memory->content(path);
        if (failed) {
          EXPECT_EQ(std::memcmp(content.data(), older.data(), older.size()), 0);
        } else if (kind != Fault::Kind::bit_flip) {
          EXPECT_EQ(content, whole);
        }
        EXPECT_EQ(both->stats().kv_used_bytes, used);
      }
      memory->set_content(path, whole);
      for (int64_t nth = 1; nth <= num_load_calls; ++nth) {
        SCOPED_TRACE("load, call " + std::to_string(nth));
        files->reset();
        files->inject({.kind = kind, .nth = nth, .for_ever = for_ever});
        try {
          const Loaded loaded = load(*both, snapshot_source(path, files));
          const Tokens kept = loaded.session->tokens();
          ASSERT_TRUE(std::equal(kept.begin(), kept.end(), tokens.begin()));
          if (kept == tokens) {
            EXPECT_EQ(generate(*loaded.session), expected);
          }
          num_less += loaded.result.kv_len < std::ssize(tokens) - 1;
        } catch (const Error& error) {
          EXPECT_TRUE(error.status() == Status::IO || error.status() == Status::NOT_FOUND ||
                      error.status() == Status::CORRUPT || error.status() == Status::UNSUPPORTED)
              << error.message();
        }
        EXPECT_EQ(both->stats().kv_used_bytes, used);
      }
    }
  }
  EXPECT_GT(num_failed, 20);
  EXPECT_GT(num_less, 0);
  files->reset();
  EXPECT_EQ(generate(*session), expected);
}

}  // namespace
}  // namespace kvi
