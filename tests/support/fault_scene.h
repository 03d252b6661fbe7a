// An engine driven through the public header while faults are due: every call may fail, but not lie.
//
// A greedy model has one right text for every prompt; whatever a session holds at any time is a start of it.
#pragma once

#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/fault_points.h"

namespace kvi {

struct ReleaseInside {
  template <typename T, void (*release)(T*)>
  static void free(T* handle) {
    const FaultScope inside;
    release(handle);
  }
  void operator()(kvi_model* handle) const { free<kvi_model, kvi_model_release>(handle); }
  void operator()(kvi_engine* handle) const { free<kvi_engine, kvi_engine_release>(handle); }
  void operator()(kvi_session* handle) const { free<kvi_session, kvi_session_release>(handle); }
  void operator()(kvi_request* handle) const { free<kvi_request, kvi_request_release>(handle); }
  void operator()(kvi_prefix* handle) const { free<kvi_prefix, kvi_prefix_release>(handle); }
};
template <typename T>
using Handle = std::unique_ptr<T, ReleaseInside>;
using Model = Handle<kvi_model>;
using Engine = Handle<kvi_engine>;
using Request = Handle<kvi_request>;
using Prefix = Handle<kvi_prefix>;
using Tokens = std::vector<int32_t>;

// A session and the one right text of its prompt; no handle where it could not be made.
struct Talk {
  Handle<kvi_session> session;
  const Tokens* text = nullptr;
  explicit operator bool() const { return session != nullptr; }
};

class FaultScene {
 public:
  // model: open already, or empty.
  FaultScene(std::string model_path, std::string folder, std::map<Tokens, Tokens>& texts,
             std::shared_ptr<kvi_model> model = nullptr)
      : model_path_(std::move(model_path)),
        folder_(std::move(folder)),
        texts_(texts),
        model_(std::move(model)) {
    kvi_engine_options_init(&options, sizeof options);
    options.num_threads = 1;
    options.kv_budget_bytes = 8 << 20;
  }

  kvi_engine_options options;
  void add_host_tier() { options.host_cache_bytes = 1 << 20; }
  void add_disk_tier() {
    options.disk_cache_bytes = 1 << 20;
    options.disk_cache_folder = folder_.c_str();
  }
  std::string path(const char* name) const { return folder_ + "/" + name; }

  // A call that may fail, with a status that says why.
  template <typename Call>
  kvi_status call(const Call& call) {
    kvi_error* error = nullptr;
    kvi_status status;
    {
      const FaultScope inside;
      status = call(&error);
    }
    EXPECT_TRUE(status == KVI_OK || num_faults() > 0) << kvi_error_message(error);
    const bool is_clear = status == KVI_OK || status == KVI_OUT_OF_MEMORY || status == KVI_IO ||
                          status == KVI_EXHAUSTED || status == KVI_NOT_FOUND ||
                          status == KVI_UNSUPPORTED;
    EXPECT_TRUE(is_clear) << status << ": " << kvi_error_message(error);
    EXPECT_TRUE(error == nullptr || *kvi_error_message(error) != '\0');
    kvi_error_release(error);
    return status;
  }

  bool open_model() {
    kvi_model* model = nullptr;
    call([&](kvi_error** e) {
      return kvi_model_open(model_path_.data(), model_path_.size(), nullptr, &model, e);
    });
    if (model != nullptr) model_ = Model(model);
    return model != nullptr;
  }
  bool open_engine() {
    if (!model_ && !open_model()) return false;
    kvi_engine* engine = nullptr;
    call([&](kvi_error** e) { return kvi_engine_create(model_.get(), &options, &engine, e); });
    engine_.reset(engine);
    return engine != nullptr;
  }
  void close_engine() {
    if (!engine_) return;
    call([&](kvi_error** e) { return kvi_engine_close(engine_.get(), kMostWaitMs, e); });
    engine_.reset();
  }
  void close_model() { model_.reset(); }
  const Engine& engine() const { return engine_; }

  Talk begin(const Tokens& prompt, const std::string& tenant = "a") {
    Talk talk = {nullptr, &texts_.at(prompt)};
    if (!engine_) return talk;
    kvi_session_options own;
    kvi_session_options_init(&own, sizeof own);
    own.tenant = tenant.data();
    own.tenant_size = tenant.size();
    kvi_session* session = nullptr;
    call([&](kvi_error** e) { return kvi_session_create(engine_.get(), &own, &session, e); });
    talk.session.reset(session);
    if (session != nullptr && !append(talk, prompt)) talk.session.reset();
    return talk;
  }
  bool append(const Talk& talk, const Tokens& tokens) {
    kvi_part part;
    kvi_part_init(&part, sizeof part);
    part.kind = KVI_PART_TOKENS;
    part.tokens = tokens.data();
    part.num_tokens = tokens.size();
    return call([&](kvi_error** e) {
             return kvi_session_append(talk.session.get(), &part, 1, e);
           }) == KVI_OK;
  }

  Request start(const Talk& talk, uint32_t max_tokens, int priority = 0) {
    if (!talk) return nullptr;
    kvi_generate_options how;
    kvi_generate_options_init(&how, sizeof how);
    how.temperature = 0;
    how.max_tokens = max_tokens;
    how.ignore_eos = 1;
    how.priority = priority;
    kvi_request* request = nullptr;
    call(
        [&](kvi_error** e) { return kvi_session_generate(talk.session.get(), &how, &request, e); });
    return Request(request);
  }
  bool finish(const Talk& talk, const Request& request) {
    if (!request) return false;
    const kvi_status status = call(
        [&](kvi_error** e) { return kvi_request_await(request.get(), kMostWaitMs, e); });
    expect_right_text(talk);
    return status == KVI_OK;
  }
  bool generate(const Talk& talk, uint32_t max_tokens) {
    return finish(talk, start(talk, max_tokens));
  }
  void expect_right_text(const Talk& talk) {
    if (!talk) return;
    Tokens held(talk.text->size() + 1);
    size_t count = 0;
    kvi_status status;
    {
      const FaultScope inside;
      status = kvi_session_tokens(talk.session.get(), held.data(), held.size(), &count, nullptr);
    }
    if (status != KVI_OK) return;
    held.resize(count);
    ASSERT_LE(held.size(), talk.text->size());
    EXPECT_TRUE(std::equal(held.begin(), held.end(), talk.text->begin())) << "wrong tokens";
  }

  bool suspend(const Talk& talk, int32_t tier) {
    return talk && call([&](kvi_error** e) {
                     return kvi_session_suspend(talk.session.get(), tier, e);
                   }) == KVI_OK;
  }
  Talk fork(const Talk& talk) {
    Talk copy = {nullptr, talk.text};
    if (!talk) return copy;
    kvi_session* session = nullptr;
    call([&](kvi_error** e) { return kvi_session_fork(talk.session.get(), &session, e); });
    copy.session.reset(session);
    return copy;
  }
  bool truncate(const Talk& talk, uint32_t num_tokens) {
    return talk && call([&](kvi_error** e) {
                     return kvi_session_truncate(talk.session.get(), num_tokens, e);
                   }) == KVI_OK;
  }

  void resume(const Talk& talk) {
    call([&](kvi_error** e) { return kvi_session_resume(talk.session.get(), e); });
  }

  bool save(const Talk& talk) {
    const std::string file = folder_ + "/session.kvs";
    return call([&](kvi_error** e) {
             return kvi_session_save(talk.session.get(), file.data(), file.size(), e);
           }) == KVI_OK;
  }
  Talk load(const Tokens& prompt) {
    const std::string file = folder_ + "/session.kvs";
    Talk talk = {nullptr, &texts_.at(prompt)};
    kvi_session* session = nullptr;
    call([&](kvi_error** e) {
      return kvi_session_load(engine_.get(), file.data(), file.size(), nullptr, &session, nullptr,
                              e);
    });
    talk.session.reset(session);
    expect_right_text(talk);
    return talk;
  }

  Prefix preload(const Tokens& tokens, int32_t tier) {
    kvi_preload_options how;
    kvi_preload_options_init(&how, sizeof how);
    how.pin_tier = tier;
    kvi_prefix* prefix = nullptr;
    call([&](kvi_error** e) {
      return kvi_cache_preload(engine_.get(), "a", 1, tokens.data(), tokens.size(), &how, &prefix,
                               e);
    });
    return Prefix(prefix);
  }
  Prefix pin(const Tokens& tokens) {
    kvi_prefix* prefix = nullptr;
    call([&](kvi_error** e) {
      return kvi_cache_pin(engine_.get(), "a", 1, tokens.data(), tokens.size(), nullptr, &prefix,
                           e);
    });
    return Prefix(prefix);
  }
  void probe(const Tokens& tokens) {
    kvi_probe found;
    kvi_probe_init(&found, sizeof found);
    call([&](kvi_error** e) {
      return kvi_cache_probe(engine_.get(), "a", 1, tokens.data(), tokens.size(), &found, e);
    });
  }
  void prefetch(const Tokens& tokens) {
    call([&](kvi_error** e) {
      return kvi_cache_prefetch(engine_.get(), "a", 1, tokens.data(), tokens.size(), nullptr, e);
    });
  }
  void evict(const Tokens& tokens) {
    call([&](kvi_error** e) {
      return kvi_cache_evict(engine_.get(), "a", 1, tokens.data(), tokens.size(), e);
    });
  }
  void clear() {
    call([&](kvi_error** e) { return kvi_cache_clear(engine_.get(), "a", 1, e); });
  }
  void metrics() {
    std::vector<char> text(1 << 16);
    call([&](kvi_error** e) {
      return kvi_engine_metrics_text(engine_.get(), text.data(), text.size(), nullptr, e);
    });
  }

  kvi_tier_stats tier(int32_t tier) const {
    kvi_tier_stats stats = {};
    kvi_tier_stats_init(&stats, sizeof stats);
    if (engine_) kvi_cache_get_tier_stats(engine_.get(), tier, &stats, nullptr);
    return stats;
  }
  const std::shared_ptr<kvi_model>& model() const { return model_; }
  uint64_t page_bytes() const {  // of all layer groups together
    kvi_model_info info;
    kvi_model_info_init(&info, sizeof info);
    kvi_model_get_info(model_.get(), &info, nullptr);
    return info.kv_bytes_per_token * options.page_len;
  }
  uint64_t num_preemptions() const {
    kvi_cache_stats stats = {};
    kvi_cache_stats_init(&stats, sizeof stats);
    if (engine_) kvi_cache_get_stats(engine_.get(), &stats, nullptr);
    return stats.preemptions_swapped + stats.preemptions_recomputed;
  }
  kvi_stats stats() const {
    kvi_stats stats = {};
    kvi_stats_init(&stats, sizeof stats);
    if (engine_) kvi_engine_get_stats(engine_.get(), &stats, nullptr);
    return stats;
  }
  void trim() {
    if (!engine_) return;
    const FaultScope inside;
    kvi_engine_trim(engine_.get(), UINT64_MAX, nullptr, nullptr);
  }
  // Until what is idle has a copy in the tier, or a transfer has failed, or it takes too long.
  void wait_stored(int32_t tier_id, uint64_t num_bytes) {
    poll(kFewPolls, [&] {
      kvi_cache_stats stats;
      kvi_cache_stats_init(&stats, sizeof stats);
      if (engine_) kvi_cache_get_stats(engine_.get(), &stats, nullptr);
      return !engine_ || stats.failed_transfers > 0 || tier(tier_id).stored_bytes >= num_bytes;
    });
  }
  template <typename Happened>
  static bool poll(int most, const Happened& happened) {
    for (int i = 0; i < most; ++i) {
      if (happened()) return true;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return happened();
  }

  static constexpr uint32_t kMostWaitMs = 20'000;
  static constexpr int kFewPolls = 40, kManyPolls = 40'000;

 private:
  const std::string model_path_, folder_;
  std::map<Tokens, Tokens>& texts_;
  std::shared_ptr<kvi_model> model_;
  Engine engine_;
};

}  // namespace kvi
