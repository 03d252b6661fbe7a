// Metrics: histograms, the Prometheus text as a parser of its own reads it, readers beside a writer, and what
// an engine records.
#include "engine/metrics.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/metrics_text.h"
#include "support/allocation_watch.h"

namespace kvi {
namespace {

// ---- a parser of the exposition format 0.0.4, made from its description ----

using LabelMap = std::map<std::string, std::string>;

struct Family {
  std::string type, help;
  // By name and labels: of a histogram also the names that end in _bucket, _sum and _count.
  std::map<std::pair<std::string, LabelMap>, double> samples;
};

bool is_name(const std::string& text, bool colon_allowed) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0]))) return false;
  for (unsigned char c : text) {
    if (!std::isalnum(c) && c != '_' && !(colon_allowed && c == ':')) return false;
  }
  return true;
}

class PrometheusText {
 public:
  explicit PrometheusText(const std::string& text) {
    if (text.empty() || text.back() != '\n') fail("the last line does not end");
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) read_line(line);
    for (const auto& [name, family] : families_) {
      if (family.type.empty() || family.help.empty()) fail(name + " lacks TYPE or HELP");
      if (family.type == "histogram") check_histogram(name, family);
    }
  }

  const std::map<std::string, Family>& families() const { return families_; }
  bool has(const std::string& name, LabelMap labels = {}) const {
    return find(name, std::move(labels)) != nullptr;
  }
  // labels: beside model_name
  double value(const std::string& name, LabelMap labels = {}) const {
    const double* found = find(name, std::move(labels));
    if (found == nullptr) fail("there is no sample " + name);
    return *found;
  }
  std::string model_name() const {
    return families_.begin()->second.samples.begin()->first.second.at("model_name");
  }

 private:
  [[noreturn]] static void fail(const std::string& what) { throw std::runtime_error(what); }

  const double* find(const std::string& name, LabelMap labels) const {
    labels["model_name"] = model_name();
    for (const auto& [family_name, family] : families_) {
      const auto found = family.samples.find({name, labels});
      if (found != family.samples.end()) return &found->second;
    }
    return nullptr;
  }

  void read_line(const std::string& line) {
    if (line.rfind("# HELP ", 0) == 0 || line.rfind("# TYPE ", 0) == 0) {
      const size_t end = line.find(' ', 7);
      const std::string name = line.substr(7, end - 7), rest = line.substr(end + 1);
      if (!is_name(name, true)) fail("no name: " + line);
      if (line[2] == 'H') {
        if (families_.count(name) != 0) fail(name + " comes twice");
        families_[name].help = rest;
      } else {
        if (rest != "counter" && rest != "gauge" && rest != "histogram") fail("no type: " + line);
        families_.at(name).type = rest;
      }
      current_ = name;
      return;
    }
    read_sample(line);
  }

  void read_sample(const std::string& line) {
    const size_t brace = line.find('{');
    if (brace == std::string::npos) fail("no labels: " + line);
    const std::string name = line.substr(0, brace);
    Family& family = families_.at(current_);
    if (name != current_) {
      const std::string suffix = name.rfind(current_, 0) == 0 ? name.substr(current_.size()) : "";
      const bool of_histogram = suffix == "_bucket" || suffix == "_sum" || suffix == "_count";
      if (family.type != "histogram" || !of_histogram) fail("not of " + current_ + ": " + line);
    }
    LabelMap labels;
    size_t pos = brace + 1;
    while (line.at(pos) != '}') {
      const size_t equals = line.find("=\"", pos);
      if (equals == std::string::npos) fail("no label: " + line);
      const std::string label = line.substr(pos, equals - pos);
      if (!is_name(label, false) || labels.count(label) != 0) fail("label " + label);
      std::string& value = labels[label];
      for (pos = equals + 2; line.at(pos) != '"'; ++pos) {
        if (line[pos] != '\\') {
          value += line[pos];
          continue;
        }
        const char escaped = line.at(++pos);
        if (escaped != '\\' && escaped != '"' && escaped != 'n') fail("escape: " + line);
        value += escaped == 'n' ? '\n' : escaped;
      }
      if (line.at(++pos) == ',') ++pos;
    }
    if (line.at(++pos) != ' ') fail("no space: " + line);
    const std::string number = line.substr(pos + 1);
    size_t used = 0;
    const double value = number == "+Inf" ? HUGE_VAL : std::stod(number, &used);
    if (number != "+Inf" && used != number.size()) fail("no number: " + line);
    if (!family.samples.emplace(std::pair(name, labels), value).second) fail("twice: " + line);
  }

  static void check_histogram(const std::string& name, const Family& family) {
    std::map<double, double> buckets;  // by le
    double count = -1;
    for (const auto& [key, value] : family.samples) {
      if (key.first == name + "_count") count = value;
      if (key.first != name + "_bucket") continue;
      const std::string& le = key.second.at("le");
      buckets[le == "+Inf" ? HUGE_VAL : std::stod(le)] = value;
    }
    double before = 0;
    for (const auto& [le, value] : buckets) {
      if (value < before) fail(name + " is not cumulative");
      before = value;
    }
    if (buckets.empty() || buckets.rbegin()->first != HUGE_VAL || before != count)
      fail(name + ": +Inf is not the count");
  }

  std::map<std::string, Family> families_;
  std::string current_;
};

PrometheusText text_of(const Metrics& metrics) {
  return PrometheusText(metrics_text(metrics.snapshot(), "a model"));
}

// ---- histograms ----

TEST(HistogramTest, BoundsBelongToTheirBucket) {
  Histogram histogram(kSecondBounds);
  histogram.observe(0);
  histogram.observe(0.001);
  histogram.observe(std::nextafter(0.001, 1.0));
  histogram.observe(1000);
  histogram.observe(1001);
  histogram.observe(HUGE_VAL);
  const HistogramSnapshot snapshot = histogram.snapshot();
  EXPECT_EQ(snapshot.counts[0], 2u);
  EXPECT_EQ(snapshot.counts[1], 1u);
  EXPECT_EQ(snapshot.counts[kNumBounds - 1], 1u);
  EXPECT_EQ(snapshot.counts[kNumBounds], 2u);
  EXPECT_EQ(snapshot.count(), 6u);
}

TEST(HistogramTest, SumIsOfWhatWasObservedAndNaNIsLeftOut) {
  Histogram histogram(kTokenBounds);
  for (int i = 1; i <= 100; ++i) histogram.observe(i);
  histogram.observe(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(histogram.snapshot().sum, 5050);
  EXPECT_EQ(histogram.snapshot().count(), 100u);
}

TEST(HistogramTest, BoundsAscend) {
  for (const Bounds& bounds : {kSecondBounds, kTokenBounds}) {
    for (size_t i = 1; i < kNumBounds; ++i) EXPECT_LT(bounds[i - 1], bounds[i]);
  }
}

// ---- the text ----

TEST(MetricsTextTest, LabelsComeBackAsTheyWere) {
  const Metrics metrics(1);
  for (const std::string name : {"", "plain", "a\"b", "back\\slash", "line\nbreak", "\\n",
                                 "}{,=\" ", "\"} 1\nvllm:fake{a=\"", "\xc3\xa9\xf0\x9f\x98\x80"}) {
    EXPECT_EQ(PrometheusText(metrics_text(metrics.snapshot(), name)).model_name(), name);
  }
  EXPECT_EQ(PrometheusText(metrics_text(metrics.snapshot(), "a\xff\xc3")).model_name(),
            "a\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(MetricsTextTest, RequestsAreToldUnderTheNamesOfVllm) {
  Metrics metrics(1);
  Usage usage;
  usage.prompt_tokens = 100;
  usage.cached_tokens = 64;
  usage.queue_ms = 20;
  metrics.request_started(usage);
  metrics.token_generated(0.050, true);
  metrics.token_generated(0.004, false);
  metrics.token_generated(0.006, false);
  usage.generated_tokens = 3;
  usage.ttft_ms = 50;
  usage.tpot_ms = 5;
  usage.total_ms = 60;
  for (Finish finish : {Finish::eos, Finish::stop, Finish::length, Finish::context,
                        Finish::cancelled, Finish::error}) {
    usage.finish = finish;
    metrics.request_ended(usage);
  }
  metrics.preempted(Preemption::swap);
  metrics.preempted(Preemption::recompute);
  metrics.preempted(Preemption::recompute);
  metrics.request_refused(Refusal::queue_full);
  metrics.set_queue(7, 9);
  metrics.set_sessions(11);
  metrics.step_done(40);
  metrics.step_done(1);

  const PrometheusText text = text_of(metrics);
  EXPECT_EQ(text.value("vllm:num_requests_running"), 7);
  EXPECT_EQ(text.value("vllm:num_requests_waiting"), 9);
  EXPECT_EQ(text.value("kvinfer:num_sessions"), 11);
  EXPECT_EQ(text.value("vllm:prompt_tokens_total"), 100);
  EXPECT_EQ(text.value("vllm:generation_tokens_total"), 3);
  EXPECT_EQ(text.value("vllm:prefix_cache_queries_total"), 100);
  EXPECT_EQ(text.value("vllm:prefix_cache_hits_total"), 64);
  EXPECT_EQ(text.value("vllm:num_preemptions_total"), 3);
  EXPECT_EQ(text.value("kvinfer:preemptions_total", {{"how", "recompute"}}), 2);
  EXPECT_EQ(text.value("kvinfer:requests_refused_total", {{"reason", "queue_full"}}), 1);
  EXPECT_EQ(text.value("kvinfer:requests_refused_total", {{"reason", "never_fits"}}), 0);
  for (const auto& [reason, count] :
       {std::pair{"stop", 2}, {"length", 2}, {"abort", 1}, {"error", 1}}) {
    EXPECT_EQ(text.value("vllm:request_success_total", {{"finished_reason", reason}}), count);
  }
  const auto expect_sum = [&](const std::string& name, double count, double sum) {
    EXPECT_EQ(text.value(name + "_count"), count) << name;
    EXPECT_NEAR(text.value(name + "_sum"), sum, 1e-9) << name;
  };
  expect_sum("vllm:time_to_first_token_seconds", 1, 0.050);
  expect_sum("vllm:inter_token_latency_seconds", 2, 0.010);
  expect_sum("vllm:request_time_per_output_token_seconds", 6, 6 * 0.005);
  expect_sum("vllm:request_queue_time_seconds", 1, 0.020);
  expect_sum("vllm:request_prefill_time_seconds", 6, 6 * 0.030);
  expect_sum("vllm:request_decode_time_seconds", 6, 6 * 0.010);
  expect_sum("vllm:request_inference_time_seconds", 6, 6 * 0.040);
  expect_sum("vllm:e2e_request_latency_seconds", 6, 6 * 0.060);
  expect_sum("vllm:request_prompt_tokens", 6, 600);
  expect_sum("vllm:request_generation_tokens", 6, 18);
  expect_sum("vllm:iteration_tokens_total", 2, 41);
  EXPECT_EQ(text.value("vllm:inter_token_latency_seconds_bucket", {{"le", "0.005"}}), 1);
  EXPECT_EQ(text.value("vllm:inter_token_latency_seconds_bucket", {{"le", "0.01"}}), 2);
}

TEST(MetricsTextTest, TiersAppearFromTheirFirstNumberOn) {
  Metrics metrics(2);
  EXPECT_FALSE(text_of(metrics).has("kvinfer:kv_budget_bytes", {{"tier", "device"}}));
  metrics.set_budget(TierId::device, 1000);
  metrics.set_pages(TierId::device, 0,
                    {.mapped_bytes = 400,
                     .allocated_bytes = 200,
                     .cached_bytes = 80,
                     .deferred_bytes = 20,
                     .token_bytes = 150});
  metrics.set_pages(TierId::device, 1,
                    {.mapped_bytes = 100, .allocated_bytes = 50, .token_bytes = std::nullopt});
  metrics.prefix_hit(TierId::disk, 32);
  metrics.evicted(TierId::device, 5);
  metrics.swapped(TierId::host, SwapDirection::out, 4096);
  metrics.swapped(TierId::host, SwapDirection::in, 1024);
  metrics.disk_failed();

  const PrometheusText text = text_of(metrics);
  EXPECT_EQ(text.value("vllm:kv_cache_usage_perc"), 0.25);
  EXPECT_EQ(text.value("kvinfer:kv_budget_bytes", {{"tier", "device"}}), 1000);
  const auto bytes = [&](const char* group, const char* state) {
    return text.value("kvinfer:kv_bytes", {{"tier", "device"}, {"group", group}, {"state", state}});
  };
  EXPECT_EQ(bytes("0", "mapped"), 400);
  EXPECT_EQ(bytes("0", "allocated"), 200);
  EXPECT_EQ(bytes("0", "cached"), 80);
  EXPECT_EQ(bytes("0", "deferred"), 20);
  EXPECT_EQ(bytes("0", "free"), 100);
  EXPECT_EQ(bytes("1", "free"), 50);
  const LabelMap first = {{"tier", "device"}, {"group", "0"}};
  const LabelMap second = {{"tier", "device"}, {"group", "1"}};
  EXPECT_EQ(text.value("kvinfer:kv_usage_ratio", first), 0.2);
  EXPECT_EQ(text.value("kvinfer:kv_waste_ratio", first), 0.25);
  EXPECT_FALSE(text.has("kvinfer:kv_waste_ratio", second));  // not counted is not none
  EXPECT_EQ(text.value("kvinfer:kv_fragmentation_ratio", second), 0.5);
  EXPECT_EQ(text.value("kvinfer:prefix_cache_hit_tokens_total", {{"tier", "disk"}}), 32);
  EXPECT_EQ(text.value("kvinfer:evicted_pages_total", {{"tier", "device"}}), 5);
  const auto swapped = [](const char* direction) {
    return LabelMap{{"tier", "host"}, {"direction", direction}};
  };
  EXPECT_EQ(text.value("kvinfer:swap_bytes_total", swapped("out")), 4096);
  EXPECT_EQ(text.value("kvinfer:swap_bytes_total", swapped("in")), 1024);
  EXPECT_EQ(text.value("kvinfer:disk_failures_total"), 1);
}

TEST(MetricsTextTest, LargeCountersKeepEveryDigit) {
  Metrics metrics(1);
  metrics.set_budget(TierId::device, (uint64_t{1} << 60) + 1);
  EXPECT_NE(metrics_text(metrics.snapshot(), "m").find("} 1152921504606846977\n"),
            std::string::npos);
}

TEST(MetricsTest, RecordingAllocatesNothing) {
  Metrics metrics(2);
  Usage usage;
  usage.generated_tokens = 3;
  const uint64_t before = num_allocations();
  for (int i = 0; i < 100; ++i) {
    metrics.request_started(usage);
    metrics.token_generated(0.01, i % 2 == 0);
    metrics.request_ended(usage);
    metrics.step_done(12);
    metrics.set_queue(1, 2);
    metrics.set_pages(TierId::device, 1, {});
    metrics.swapped(TierId::host, SwapDirection::out, 1);
  }
  EXPECT_EQ(num_allocations(), before);
}

TEST(MetricsTest, ReadersBesideAWriterSeeWholeNumbersThatOnlyGrow) {
  constexpr int kReaders = 2, kReadings = 200;
  constexpr uint64_t kBudgets[] = {5, (uint64_t{1} << 32) + 1};
  Metrics metrics(1);
  metrics.set_budget(TierId::device, kBudgets[0]);
  std::atomic<int> num_reading{kReaders}, num_wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      double tokens = 0, count = 0;
      for (int reading = 0; reading < kReadings; ++reading) {
        const PrometheusText text = text_of(metrics);  // throws where buckets are not cumulative
        const double new_tokens = text.value("vllm:generation_tokens_total");
        const double new_count = text.value("vllm:inter_token_latency_seconds_count");
        const double budget = text.value("kvinfer:kv_budget_bytes", {{"tier", "device"}});
        const bool is_whole = budget == static_cast<double>(kBudgets[0]) ||
                              budget == static_cast<double>(kBudgets[1]);
        if (new_tokens < tokens || new_count < count || !is_whole) ++num_wrong;
        tokens = new_tokens;
        count = new_count;
      }
      --num_reading;
    });
  }
  uint64_t num_recorded = 0;
  while (num_reading.load() > 0) {
    metrics.token_generated(0.001 * static_cast<double>(num_recorded % 50), false);
    metrics.set_budget(TierId::device, kBudgets[num_recorded % 2]);
    ++num_recorded;
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(num_wrong.load(), 0);
  const PrometheusText text = text_of(metrics);
  EXPECT_EQ(text.value("vllm:generation_tokens_total"), static_cast<double>(num_recorded));
  EXPECT_EQ(text.value("vllm:inter_token_latency_seconds_count"),
            static_cast<double>(num_recorded));
}

// ---- the engine ----

TEST(EngineMetricsTest, WhatWasAwaitedIsCounted) {
  const std::shared_ptr<const LoadedModel> model = LoadedModel::open(
      std::string(KVINFER_TEST_DATA) + "/models/tiny/gemma3-q8_0.gguf", {});
  EngineOptions options;
  options.num_threads = 1;
  options.kv_budget_bytes = 1 << 20;
  const std::shared_ptr<Engine> engine = Engine::create(model, options);
  const auto text = [&] { return PrometheusText(engine->metrics_text()); };
  EXPECT_EQ(text().value("vllm:e2e_request_latency_seconds_count"), 0);
  EXPECT_EQ(text().value("kvinfer:kv_budget_bytes", {{"tier", "device"}}), 1 << 20);

  const std::vector<TokenId> prompt(40, 65);
  const Part part = std::span<const TokenId>(prompt);
  const std::shared_ptr<Session> session = engine->create_session();
  session->append({&part, 1});
  GenerateOptions generate;
  generate.max_tokens = 8;
  generate.ignore_eos = true;
  session->generate(generate, nullptr)->await(std::nullopt);
  session->generate(generate, nullptr)->await(std::nullopt);  // goes on: 48 tokens, 46 computed
  const std::shared_ptr<Request> cancelled = [&] {
    GenerateOptions longer = generate;
    longer.max_tokens = 150;
    return session->generate(longer, nullptr);
  }();
  cancelled->cancel(CancelMode::keep);
  cancelled->await(std::nullopt);

  const PrometheusText after = text();
  const double ended = cancelled->usage().finish == Finish::cancelled ? 2 : 3;
  const double generated = 16.0 + cancelled->usage().generated_tokens;
  EXPECT_EQ(after.value("vllm:request_success_total", {{"finished_reason", "length"}}), ended);
  EXPECT_EQ(after.value("vllm:request_success_total", {{"finished_reason", "abort"}}), 3 - ended);
  EXPECT_EQ(after.value("vllm:generation_tokens_total"), generated);
  EXPECT_EQ(after.value("vllm:e2e_request_latency_seconds_count"), 3);
  EXPECT_GE(after.value("vllm:time_to_first_token_seconds_count"), 2);
  EXPECT_GE(after.value("vllm:prefix_cache_queries_total"), 40 + 48);
  EXPECT_GE(after.value("vllm:prefix_cache_hits_total"), 46);
  EXPECT_GT(after.value("kvinfer:steps_total"), 0);
  EXPECT_EQ(after.value("vllm:num_requests_running"), 0);
  EXPECT_EQ(after.value("vllm:num_requests_waiting"), 0);
  EXPECT_EQ(after.value("kvinfer:num_sessions"), 1);
  EXPECT_NEAR(after.value("vllm:kv_cache_usage_perc"),
              static_cast<double>(engine->stats().kv_used_bytes) / (1 << 20), 1e-9);
  EXPECT_GT(
      after.value("kvinfer:kv_bytes", {{"tier", "device"}, {"group", "1"}, {"state", "allocated"}}),
      0);

  const std::vector<TokenId> too_long(4000, 65);
  EngineOptions wide = options;
  wide.max_model_len = 8000;
  wide.kv_budget_bytes = 1 << 17;
  const std::shared_ptr<Engine> small = Engine::create(model, wide);
  const std::shared_ptr<Session> refused = small->create_session();
  const Part long_part = std::span<const TokenId>(too_long);
  refused->append({&long_part, 1});
  EXPECT_THROW(refused->generate(generate, nullptr), Error);
  EXPECT_EQ(PrometheusText(small->metrics_text())
                .value("kvinfer:requests_refused_total", {{"reason", "never_fits"}}),
            1);
}

}  // namespace
}  // namespace kvi
