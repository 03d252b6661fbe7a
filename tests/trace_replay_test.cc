#include "trace_replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

#include "support/expect_error.h"
#include "support/seed.h"
#include "support/temp_folder.h"

namespace kvi {
namespace {

TraceRequest request_of(std::vector<int64_t> hash_ids, int64_t input_length = -1) {
  TraceRequest request;
  const auto full = static_cast<int64_t>(hash_ids.size()) * kTraceBlockTokens;
  request.input_length = input_length < 0 ? full : input_length;
  request.hash_ids = std::move(hash_ids);
  return request;
}

double hit_rate(const std::vector<TraceRequest>& trace, int64_t budget, std::string_view name) {
  const auto policy = make_eviction_policy(name);
  return replay_trace(trace, budget, *policy).hit_rate;
}

// Prompts that go on, branch and repeat: conversations under a few system prompts. Lengths are not multiples of a block.
std::vector<TraceRequest> random_conversations(uint64_t seed, int num_requests) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<int64_t>> conversations;
  std::vector<TraceRequest> trace;
  int64_t next_id = 100;
  for (int i = 0; i < num_requests; ++i) {
    if (conversations.empty() || random() % 4 == 0) {
      conversations.push_back({static_cast<int64_t>(random() % 3)});
    }
    // The latest are the likeliest to go on.
    const size_t back = std::min(random() % conversations.size(), random() % conversations.size());
    std::vector<int64_t>& conversation = conversations[conversations.size() - 1 - back];
    for (auto n = random() % 6; n > 0; --n) conversation.push_back(next_id++);
    const auto blocks = static_cast<int64_t>(conversation.size());
    trace.push_back(request_of(conversation,
                               blocks * kTraceBlockTokens - static_cast<int64_t>(random() % 512)));
  }
  return trace;
}

// The definition, literally: one list of blocks by recency, without a tree.
double naive_lru_hit_rate(const std::vector<TraceRequest>& trace, int64_t budget) {
  std::list<int64_t> cached;  // the most recent first
  double hits = 0, tokens = 0;
  for (const TraceRequest& request : trace) {
    int64_t prefix = 0;
    for (int64_t id : request.hash_ids) {
      if (std::find(cached.begin(), cached.end(), id) == cached.end()) break;
      ++prefix;
    }
    hits += static_cast<double>(std::min(prefix * kTraceBlockTokens, request.input_length));
    tokens += static_cast<double>(request.input_length);
    for (auto id = request.hash_ids.rbegin(); id != request.hash_ids.rend(); ++id) {
      cached.remove(*id);
      cached.push_front(*id);
    }
    while (budget > 0 && static_cast<int64_t>(cached.size()) > budget) cached.pop_back();
  }
  return hits / tokens;
}

TEST(TraceReplayTest, LruIsTheNaiveListAtEveryBudget) {
  const std::vector<TraceRequest> trace = random_conversations(test_seed(), 300);
  for (int64_t budget : {0, 1, 2, 5, 20, 60, 200, 100000}) {
    EXPECT_DOUBLE_EQ(hit_rate(trace, budget, "lru"), naive_lru_hit_rate(trace, budget)) << budget;
  }
}

TEST(TraceReplayTest, LruIsTheNaiveListWhereIdsNameNoPrefixes) {
  std::mt19937_64 random(test_seed());
  std::vector<TraceRequest> trace;
  for (int i = 0; i < 2000; ++i) {
    std::vector<int64_t> ids(random() % 8);
    for (int64_t& id : ids) id = static_cast<int64_t>(random() % 30);
    trace.push_back(request_of(std::move(ids)));
  }
  for (int64_t budget : {0, 1, 4, 12, 25}) {
    EXPECT_DOUBLE_EQ(hit_rate(trace, budget, "lru"), naive_lru_hit_rate(trace, budget)) << budget;
  }
}

TEST(TraceReplayTest, NoPolicyBeatsTheOptimumAndAllAreEqualUnbounded) {
  const std::vector<TraceRequest> trace = random_conversations(test_seed(), 2000);
  for (int64_t budget : {0, 10, 50, 200, 800}) {
    const double optimum = replay_trace_optimally(trace, budget).hit_rate;
    for (const EvictionPolicyName& policy : eviction_policies()) {
      const double rate = hit_rate(trace, budget, policy.name);
      EXPECT_LE(rate, optimum + 1e-12) << policy.name << " at " << budget;
      if (budget == 0) {
        EXPECT_DOUBLE_EQ(rate, optimum) << policy.name;
      }
    }
  }
}

TEST(TraceReplayTest, HitsAreTheLongestCachedPrefixUpToTheInputLength) {
  const std::vector<TraceRequest> trace = {
      request_of({1, 2, 3}, 1500),  // nothing is cached
      request_of({1, 2, 4}, 1100),  // 1024
      request_of({9, 2, 3}, 1536),  // its first block is not cached
      request_of({1, 2, 3}, 1500),  // all of it
  };
  const auto policy = make_eviction_policy("lru");
  const ReplayResult result = replay_trace(trace, 0, *policy);
  EXPECT_DOUBLE_EQ(result.hit_rate, (1024.0 + 1500) / (1500 + 1100 + 1536 + 1500));
  EXPECT_EQ(result.requests, 4);
  EXPECT_EQ(result.evictions, 0);
}

TEST(TraceReplayTest, PromptBeyondTheBudgetKeepsItsFirstBlocks) {
  const std::vector<TraceRequest> trace = {request_of({1, 2, 3, 4}), request_of({1, 2, 3, 4})};
  EXPECT_DOUBLE_EQ(hit_rate(trace, 3, "lru"), 3.0 / 8);
}

TEST(TraceReplayTest, EmptyTracesAndPromptsCountNothing) {
  EXPECT_EQ(hit_rate({}, 5, "cost"), 0);
  EXPECT_EQ(hit_rate({request_of({}), request_of({})}, 5, "cost"), 0);
}

TEST(TraceFileTest, ReadsThePublishedForm) {
  const TempFolder folder;
  const std::string path = folder.write("trace.jsonl",
                                        "{\"timestamp\": 27482, \"input_length\": 6955, "
                                        "\"output_length\": 52, \"hash_ids\": [46, 47]}\n"
                                        "\r\n"
                                        "{\"timestamp\": 30535, \"input_length\": 6472, "
                                        "\"output_length\": 26, \"hash_ids\": [46, 61]}");
  const std::vector<TraceRequest> trace = read_trace_file(path);
  ASSERT_EQ(trace.size(), 2u);
  EXPECT_EQ(trace[0].timestamp_ms, 27482);
  EXPECT_EQ(trace[0].input_length, 6955);
  EXPECT_EQ(trace[1].output_length, 26);
  EXPECT_EQ(trace[1].hash_ids, (std::vector<int64_t>{46, 61}));
  EXPECT_EQ(count_unique_blocks(trace), 3);
  EXPECT_ERROR(read_trace_file(folder.path("none")), NOT_FOUND, "none");
}

TEST(TraceFileTest, HostileLinesAreRefusedWithTheirNumber) {
  const std::string good = "{\"input_length\": 1, \"hash_ids\": [1]}\n";
  const std::pair<std::string, std::string> lines[] = {
      {"{", "line 2"},
      {"[]", "not a JSON object"},
      {"{\"hash_ids\": [1]}", "there is no input_length"},
      {"{\"input_length\": 1}", "there is no hash_ids"},
      {"{\"input_length\": -1, \"hash_ids\": []}", "input_length is negative"},
      {"{\"input_length\": 1.5, \"hash_ids\": []}", "input_length is not an integer"},
      {"{\"input_length\": 1, \"hash_ids\": 7}", "hash_ids is not an array"},
      {"{\"input_length\": 1, \"hash_ids\": [\"a\"]}", "an element of hash_ids"},
      {"{\"input_length\": 1, \"hash_ids\": [18446744073709551615]}", "an element of hash_ids"},
      {"{\"input_length\": 1, \"hash_ids\": [], \"timestamp\": null}", "timestamp"},
      {"{\"input_length\": 1, \"hash_ids\": [], \"output_length\": -2}", "output_length"},
      {std::string(100000, '['), "line 2"},
      {std::string("\0\xff", 2), "line 2"},
  };
  for (const auto& [line, words] : lines) {
    EXPECT_ERROR(parse_trace(good + line + "\n" + good, "t"), CORRUPT, words) << line.substr(0, 80);
    EXPECT_ERROR(parse_trace(good + line, "t"), CORRUPT, "t, line 2: ") << line.substr(0, 80);
  }
}

}  // namespace
}  // namespace kvi
