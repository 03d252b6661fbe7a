#include "trace_replay.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <unordered_map>

#include "block_tree.h"

namespace kvi {
namespace {

class HitCounter {
 public:
  void count(const TraceRequest& request, int64_t num_hit_blocks) {
    // In doubles: lengths are the file's, and their sum may pass 2^63.
    const double hit = static_cast<double>(num_hit_blocks) * kTraceBlockTokens;
    const auto input = static_cast<double>(request.input_length);
    hit_tokens_ += std::min(hit, input);
    input_tokens_ += input;
    ++num_requests_;
  }
  double rate() const { return input_tokens_ > 0 ? hit_tokens_ / input_tokens_ : 0; }
  int64_t num_requests() const { return num_requests_; }

 private:
  double hit_tokens_ = 0, input_tokens_ = 0;
  int64_t num_requests_ = 0;
};

// For each block of each request, the index of the next request that uses it.
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
std::vector<std::vector<int64_t>> next_uses(const std::vector<TraceRequest>& trace) {
  std::vector<std::vector<int64_t>> next(trace.size());
  std::unordered_map<int64_t, int64_t> later;
  for (auto i = static_cast<int64_t>(trace.size()) - 1; i >= 0; --i) {
    for (int64_t id : trace[i].hash_ids) {
      const auto found = later.find(id);
      next[i].push_back(found == later.end() ? kNever : found->second);
    }
    for (int64_t id : trace[i].hash_ids) later[id] = i;
  }
  return next;
}

}  // namespace

ReplayResult replay_trace(const std::vector<TraceRequest>& trace, int64_t budget_blocks,
                          EvictionPolicy& policy) {
  BlockTree tree(policy);
  HitCounter hits;
  ReplayResult result;
  for (const TraceRequest& request : trace) {
    hits.count(request, tree.match_prefix(request.hash_ids));
    tree.use(request.hash_ids);
    for (; budget_blocks > 0 && tree.size() > budget_blocks; ++result.evictions) tree.evict();
  }
  result.hit_rate = hits.rate();
  result.requests = hits.num_requests();
  result.inner_victims = tree.num_inner_victims();
  return result;
}

ReplayResult replay_trace_optimally(const std::vector<TraceRequest>& trace, int64_t budget_blocks) {
  struct Use {
    int64_t next, depth, hash_id;
    bool operator<(const Use& other) const {
      return next != other.next ? next < other.next : depth < other.depth;
    }
  };
  const std::vector<std::vector<int64_t>> next = next_uses(trace);
  std::unordered_map<int64_t, int64_t> cached;  // hash id -> next use
  std::priority_queue<Use>
      uses;  // the farthest first; those that were overtaken by a later use are stale
  HitCounter hits;
  ReplayResult result;
  for (size_t i = 0; i < trace.size(); ++i) {
    const std::vector<int64_t>& ids = trace[i].hash_ids;
    const auto missing = std::find_if_not(ids.begin(), ids.end(),
                                          [&](int64_t id) { return cached.contains(id); });
    hits.count(trace[i], missing - ids.begin());
    for (size_t depth = 0; depth < ids.size(); ++depth) {
      cached[ids[depth]] = next[i][depth];
      uses.push({next[i][depth], static_cast<int64_t>(depth), ids[depth]});
    }
    while (budget_blocks > 0 && static_cast<int64_t>(cached.size()) > budget_blocks) {
      const Use farthest = uses.top();
      uses.pop();
      const auto found = cached.find(farthest.hash_id);
      if (found == cached.end() || found->second != farthest.next) continue;
      cached.erase(found);
      ++result.evictions;
    }
  }
  result.hit_rate = hits.rate();
  result.requests = hits.num_requests();
  return result;
}

}  // namespace kvi
