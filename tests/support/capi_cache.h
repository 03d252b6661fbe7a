// An engine on a tiny model, driven through the public header alone, for tests of the cache.
#pragma once

#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>

#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {

const std::string kModelPath = std::string(KVINFER_TEST_DATA) + "/models/tiny/llama-q4_1.gguf";
constexpr int kVocabSize = 290;
constexpr uint32_t kPageLen = 16;

struct Release {
  void operator()(kvi_model* handle) const { kvi_model_release(handle); }
  void operator()(kvi_engine* handle) const { kvi_engine_release(handle); }
  void operator()(kvi_session* handle) const { kvi_session_release(handle); }
  void operator()(kvi_request* handle) const { kvi_request_release(handle); }
  void operator()(kvi_prefix* handle) const { kvi_prefix_release(handle); }
  void operator()(kvi_budget* handle) const { kvi_budget_release(handle); }
};
template <typename T>
using Handle = std::unique_ptr<T, Release>;
using Model = Handle<kvi_model>;
using Engine = Handle<kvi_engine>;
using Session = Handle<kvi_session>;
using Request = Handle<kvi_request>;
using Prefix = Handle<kvi_prefix>;
using Budget = Handle<kvi_budget>;
using Tokens = std::vector<int32_t>;

// A call that must succeed; says why it did not.
inline void ok(const std::function<kvi_status(kvi_error**)>& call) {
  kvi_error* error = nullptr;
  EXPECT_EQ(call(&error), KVI_OK) << kvi_error_message(error);
  kvi_error_release(error);
}

// Polls for what happens in the background.
inline void eventually(const char* what, const std::function<bool()>& happened) {
  for (int i = 0; i < 60'000; ++i) {
    if (happened()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ADD_FAILURE() << "it never happened that " << what;
}

struct Result {
  kvi_status status = KVI_OK;
  std::string message;
  Tokens tokens;
  kvi_usage usage = {};
};

class CapiCache : public testing::Test {
 protected:
  CapiCache() {
    kvi_model* model = nullptr;
    ok([&](kvi_error** e) {
      return kvi_model_open(kModelPath.data(), kModelPath.size(), nullptr, &model, e);
    });
    model_.reset(model);
    kvi_model_info info;
    kvi_model_info_init(&info, sizeof info);
    kvi_model_get_info(model, &info, nullptr);
    page_bytes_ = info.kv_bytes_per_token * kPageLen;
  }

  static kvi_engine_options small_engine() {
    kvi_engine_options options;
    kvi_engine_options_init(&options, sizeof options);
    options.num_threads = 1;
    options.kv_budget_bytes = 8 << 20;
    return options;
  }
  Engine open(const kvi_engine_options& options = small_engine()) {
    kvi_engine* engine = nullptr;
    ok([&](kvi_error** e) { return kvi_engine_create(model_.get(), &options, &engine, e); });
    return Engine(engine);
  }
  // With both lower tiers; the folder is to outlive it.
  Engine open_tiers(const TempFolder& folder) {
    kvi_engine_options options = small_engine();
    options.host_cache_bytes = 4 << 20;
    options.disk_cache_bytes = 4 << 20;
    options.disk_cache_folder = folder.path().c_str();
    return open(options);
  }

  // They begin with another token each time, so that prompts have nothing in common by chance.
  Tokens random_tokens(size_t count) {
    Tokens tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_() % kVocabSize);
    if (count > 0) tokens[0] = num_drawn_++ % kVocabSize;
    return tokens;
  }

  static Session open_session(const Engine& engine, const std::string& tenant = "",
                              const std::function<void(kvi_session_options&)>& change = {}) {
    kvi_session_options options;
    kvi_session_options_init(&options, sizeof options);
    options.tenant = tenant.data();
    options.tenant_size = tenant.size();
    if (change) change(options);
    kvi_session* session = nullptr;
    ok([&](kvi_error** e) { return kvi_session_create(engine.get(), &options, &session, e); });
    return Session(session);
  }
  static void append(const Session& session, const Tokens& tokens) {
    kvi_part part;
    kvi_part_init(&part, sizeof part);
    part.kind = KVI_PART_TOKENS;
    part.tokens = tokens.data();
    part.num_tokens = tokens.size();
    ok([&](kvi_error** e) { return kvi_session_append(session.get(), &part, 1, e); });
  }

  static Request start(const Session& session, uint32_t max_tokens) {
    kvi_generate_options options;
    kvi_generate_options_init(&options, sizeof options);
    options.temperature = 0;
    options.max_tokens = max_tokens;
    options.ignore_eos = 1;
    kvi_request* request = nullptr;
    ok([&](kvi_error** e) { return kvi_session_generate(session.get(), &options, &request, e); });
    return Request(request);
  }
  static Result finish(const Request& request) {
    Result result;
    kvi_error* error = nullptr;
    result.status = kvi_request_await(request.get(), KVI_FOREVER, &error);
    result.message = kvi_error_message(error);
    kvi_error_release(error);
    kvi_usage_init(&result.usage, sizeof result.usage);
    kvi_request_get_usage(request.get(), &result.usage, nullptr);
    result.tokens.resize(result.usage.generated_tokens);
    size_t count = 0;
    kvi_request_tokens(request.get(), 0, result.tokens.data(), nullptr, result.tokens.size(),
                       &count, nullptr);
    return result;
  }
  static Result generate(const Session& session, uint32_t max_tokens) {
    Result result = finish(start(session, max_tokens));
    EXPECT_EQ(result.status, KVI_OK) << result.message;
    return result;
  }
  // A whole prompt of a tenant, in a session of its own.
  static Result answer(const Engine& engine, const std::string& tenant, const Tokens& prompt,
                       uint32_t max_tokens = 4) {
    const Session session = open_session(engine, tenant);
    append(session, prompt);
    return generate(session, max_tokens);
  }
  // What no cache and no neighbour has a part in.
  Tokens expected(const Tokens& prompt, uint32_t max_tokens) {
    kvi_engine_options options = small_engine();
    options.prefix_caching = 0;
    const Engine engine = open(options);
    return answer(engine, "", prompt, max_tokens).tokens;
  }

  static kvi_probe probe(const Engine& engine, const std::string& tenant, const Tokens& tokens) {
    kvi_probe probe;
    kvi_probe_init(&probe, sizeof probe);
    ok([&](kvi_error** e) {
      return kvi_cache_probe(engine.get(), tenant.data(), tenant.size(), tokens.data(),
                             tokens.size(), &probe, e);
    });
    return probe;
  }
  static void expect_probe(const Engine& engine, const std::string& tenant, const Tokens& tokens,
                           uint32_t first_miss, int32_t reason) {
    const kvi_probe found = probe(engine, tenant, tokens);
    EXPECT_EQ(found.first_miss, first_miss);
    EXPECT_EQ(found.device_tokens + found.host_tokens + found.disk_tokens, first_miss);
    EXPECT_STREQ(kvi_miss_reason_name(found.miss_reason), kvi_miss_reason_name(reason));
  }
  static Prefix preload(const Engine& engine, const std::string& tenant, const Tokens& tokens,
                        const std::function<void(kvi_preload_options&)>& change = {}) {
    kvi_preload_options options;
    kvi_preload_options_init(&options, sizeof options);
    if (change) change(options);
    kvi_prefix* prefix = nullptr;
    ok([&](kvi_error** e) {
      return kvi_cache_preload(engine.get(), tenant.data(), tenant.size(), tokens.data(),
                               tokens.size(), &options, &prefix, e);
    });
    return Prefix(prefix);
  }
  static kvi_prefix_info info_of(const Prefix& prefix) {
    kvi_prefix_info info;
    kvi_prefix_info_init(&info, sizeof info);
    ok([&](kvi_error** e) { return kvi_prefix_get_info(prefix.get(), &info, e); });
    return info;
  }
  static kvi_session_info info_of(const Session& session) {
    kvi_session_info info;
    kvi_session_info_init(&info, sizeof info);
    ok([&](kvi_error** e) { return kvi_session_get_info(session.get(), &info, e); });
    return info;
  }
  static kvi_tier_stats tier_of(const Engine& engine, int32_t tier) {
    kvi_tier_stats stats;
    kvi_tier_stats_init(&stats, sizeof stats);
    ok([&](kvi_error** e) { return kvi_cache_get_tier_stats(engine.get(), tier, &stats, e); });
    return stats;
  }
  static kvi_cache_stats stats_of(const Engine& engine) {
    kvi_cache_stats stats;
    kvi_cache_stats_init(&stats, sizeof stats);
    ok([&](kvi_error** e) { return kvi_cache_get_stats(engine.get(), &stats, e); });
    return stats;
  }
  static uint64_t trim(const Engine& engine, uint64_t num_bytes = UINT64_MAX) {
    uint64_t given_back = 0;
    ok([&](kvi_error** e) { return kvi_engine_trim(engine.get(), num_bytes, &given_back, e); });
    return given_back;
  }
  static kvi_status suspend(const Session& session, int32_t tier) {
    return kvi_session_suspend(session.get(), tier, nullptr);
  }
  // Until the tier has copies of num_pages pages, and the device has nothing that is only cached.
  void move_down(const Engine& engine, int32_t tier, uint64_t num_pages) {
    eventually("the copies were made",
               [&] { return tier_of(engine, tier).stored_bytes >= num_pages * page_bytes_; });
    eventually("the device gave its pages back", [&] {
      trim(engine);
      const kvi_tier_stats device = tier_of(engine, KVI_TIER_DEVICE);
      return device.cached_bytes == 0 && device.deferred_bytes == 0;
    });
  }

  std::mt19937_64 random_{test_seed()};
  int num_drawn_ = 0;
  Model model_;
  uint64_t page_bytes_ = 0;
};

}  // namespace kvi
