// The next token of each row: the largest logit, or drawn from what top_k, top_p and min_p leave.
//
// Probabilities are fixed-point integers, so sums have no order and the choice depends on the row alone: its logits,
// its options and its random number. Tokens rank by logit, then by the lower id; the drawn one is found in id order.
#include "sampling.h"

#include "overlap.cuh"

namespace kvi::cuda {
namespace {

constexpr int kWarps = kSampleThreads / 32;
constexpr float kOne = 4294967296.0f;  // 2^32: the weight of the largest logit
constexpr int kMostIdBits = 31;

// Larger for larger values; NaN is 0, below everything.
__device__ uint32_t key_of(float value) {
  if (isnan(value)) return 0;
  const uint32_t bits = __float_as_uint(value == 0 ? 0.0f : value);  // -0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ uint64_t block_max(uint64_t value) {
  __shared__ uint64_t of_warp[kWarps];
  for (int distance = 16; distance > 0; distance /= 2) {
    value = max(value, __shfl_xor_sync(~0u, value, distance));
  }
  __syncthreads();  // the last result has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) value = max(value, of_warp[warp]);
  return value;
}

__device__ uint64_t block_sum(uint64_t value) {
  __shared__ uint64_t of_warp[kWarps];
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  __syncthreads();  // the last result has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  for (int warp = 0; warp < kWarps; ++warp) value += of_warp[warp];
  return value;
}

// What the largest logit and the temperature make of a logit.
struct Weigher {
  float largest, temperature;
  __device__ uint64_t operator()(uint32_t key) const {
    const float value = value_of(key);
    const float difference = value == largest ? 0.0f : value - largest;  // also for infinities
    return static_cast<uint64_t>(expf(difference / temperature) * kOne);
  }
};

// The candidates of a row, in id order: from the logits, or gathered in shared memory.
struct AllLogits {
  const float* logits;
  int count;
  __device__ uint32_t key(int i) const { return key_of(logits[i]); }
  __device__ int id(int i) const { return i; }
};
struct Gathered {
  const uint2* items;  // key, id
  int count;
  __device__ uint32_t key(int i) const { return items[i].x; }
  __device__ int id(int i) const { return static_cast<int>(items[i].y); }
};

// Ranks from here on are out: key below, or equal with a larger id.
struct Cut {
  uint32_t key = 1;  // no NaN
  int id = 0x7fffffff;
  __device__ bool keeps(uint32_t k, int i) const { return k > key || (k == key && i <= id); }
  __device__ bool is_tighter_than(const Cut& other) const {
    return key > other.key || (key == other.key && id < other.id);
  }
};

template <typename Items, typename Measure>
__device__ uint64_t sum_of(const Items& items, const Measure& measure) {
  uint64_t sum = 0;
  for (int i = threadIdx.x; i < items.count; i += kSampleThreads) {
    sum += measure(items.key(i), items.id(i));
  }
  return block_sum(sum);
}

// The last rank that is needed for the measure of all ranks up to it to reach limit. Requires: all together reach it,
// limit > 0.
template <typename Items, typename Measure>
__device__ Cut cut_at(const Items& items, uint64_t limit, const Measure& measure) {
  Cut cut;
  cut.key = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t key = cut.key | 1u << bit;
    const uint64_t sum = sum_of(items, [&](uint32_t k, int) { return k >= key ? measure(k) : 0; });
    if (sum >= limit) cut.key = key;
  }
  const auto is_tied = [&](uint32_t k, int) -> uint64_t { return k == cut.key; };
  if (sum_of(items, is_tied) == 1) return {cut.key};
  const uint64_t above = sum_of(items,
                                [&](uint32_t k, int) { return k > cut.key ? measure(k) : 0; });
  // The largest id with which the ties below it do not suffice, plus one.
  uint32_t least = 0;
  for (int bit = kMostIdBits - 1; bit >= 0; --bit) {
    const uint32_t id = least | 1u << bit;
    const uint64_t sum = sum_of(items, [&](uint32_t k, int i) {
      return k == cut.key && static_cast<uint32_t>(i) < id ? measure(k) : 0;
    });
    if (above + sum < limit) least = id;
  }
  cut.id = static_cast<int>(least);
  return cut;
}

template <typename Items>
__device__ int draw(const SampleRow& row, const Items& items, const Weigher& weigh) {
  Cut cut;
  if (row.top_k > 0 && row.top_k < items.count) {
    cut = cut_at(items, static_cast<uint64_t>(row.top_k), [](uint32_t) -> uint64_t { return 1; });
    if (cut.key == 0) cut = Cut();  // NaN rank last
  }
  if (row.top_p < 1) {
    const Cut by_rank = cut;
    const uint64_t total = sum_of(
        items, [&](uint32_t k, int i) { return by_rank.keeps(k, i) ? weigh(k) : 0; });
    const double wanted = static_cast<double>(total) * row.top_p;
    const uint64_t limit = max(static_cast<uint64_t>(ceil(wanted)), uint64_t{1});
    const Cut by_mass = cut_at(items, limit, weigh);
    if (by_mass.is_tighter_than(cut)) cut = by_mass;
  }
  const auto kept_weight = [&](int i) -> uint64_t {
    const uint32_t key = items.key(i);
    if (!cut.keeps(key, items.id(i))) return 0;
    const uint64_t weight = weigh(key);
    return static_cast<float>(weight) >= row.min_p * kOne ? weight : 0;
  };

  // Each warp has a stretch of its own; the drawn candidate lies in one of them.
  __shared__ uint64_t of_warp[kWarps];
  __shared__ int drawn;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int stretch = (items.count + kSampleThreads - 1) / kSampleThreads * 32;
  const int begin = min(warp * stretch, items.count), end = min(begin + stretch, items.count);
  uint64_t mine = 0;
  for (int i = begin + lane; i < end; i += 32) mine += kept_weight(i);
  for (int distance = 16; distance > 0; distance /= 2) {
    mine += __shfl_xor_sync(~0u, mine, distance);
  }
  if (lane == 0) of_warp[warp] = mine;
  __syncthreads();
  uint64_t total = 0, before = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += of_warp[w];
    total += of_warp[w];
  }
  const uint64_t target = min(static_cast<uint64_t>(row.unit * static_cast<double>(total)),
                              total - 1);
  if (before <= target && target < before + mine) {
    for (int first = begin; first < end; first += 32) {
      const uint64_t weight = first + lane < end ? kept_weight(first + lane) : 0;
      uint64_t up_to = weight;
      for (int distance = 1; distance < 32; distance *= 2) {
        const uint64_t lower = __shfl_up_sync(~0u, up_to, distance);
        if (lane >= distance) up_to += lower;
      }
      const bool is_it = weight > 0 && before + up_to > target && before + up_to - weight <= target;
      if (is_it) drawn = items.id(first + lane);
      before += __shfl_sync(~0u, up_to, 31);
      if (__any_sync(~0u, is_it)) break;
    }
  }
  __syncthreads();
  return drawn;
}

// Those whose weight is not 0, in id order. Returns how many there are; past the room they are not all there.
__device__ int gather(const float* logits, int vocab_size, const Weigher& weigh, uint2* items) {
  __shared__ int of_warp[kWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int stretch = (vocab_size + kSampleThreads - 1) / kSampleThreads * 32;
  const int begin = min(warp * stretch, vocab_size), end = min(begin + stretch, vocab_size);
  int count = 0;
  for (int first = begin; first < end; first += 32) {
    const uint32_t key = first + lane < end ? key_of(logits[first + lane]) : 0;
    count += __popc(__ballot_sync(~0u, key != 0 && weigh(key) > 0));
  }
  if (lane == 0) of_warp[warp] = count;
  __syncthreads();
  int at = 0, total = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) at += of_warp[w];
    total += of_warp[w];
  }
  if (total > kSampleCandidates) return total;
  for (int first = begin; first < end; first += 32) {
    const uint32_t key = first + lane < end ? key_of(logits[first + lane]) : 0;
    const bool is_candidate = key != 0 && weigh(key) > 0;
    const uint32_t candidates = __ballot_sync(~0u, is_candidate);
    if (is_candidate) {
      items[at + __popc(candidates & ((1u << lane) - 1))] =
          make_uint2(key, static_cast<uint32_t>(first + lane));
    }
    at += __popc(candidates);
  }
  __syncthreads();
  return total;
}

}  // namespace

// Grid: one thread block a row. Dynamic shared memory: the candidates.
extern "C" __global__ void __launch_bounds__(kSampleThreads)
    sample(const __grid_constant__ SampleParams p) {
  extern __shared__ uint2 candidates[];
  wait_for_earlier();
  let_next_start();
  const SampleRow row = p.rows[blockIdx.x];
  float* logits = p.logits + int64_t{blockIdx.x} * p.vocab_size;
  for (int i = threadIdx.x; i < row.num_edits; i += kSampleThreads) {
    const SampleEdit edit = p.edits[row.first_edit + i];
    float logit = logits[edit.token] + edit.bias;
    if (edit.repetition != 1) {
      logit = logit > 0 ? __fdiv_rn(logit, edit.repetition) : logit * edit.repetition;
    }
    logits[edit.token] = logit - edit.penalty;
  }
  __syncthreads();

  uint64_t best = 0;  // key, then the complement of the id
  for (int i = threadIdx.x; i < p.vocab_size; i += kSampleThreads) {
    best = max(best, uint64_t{key_of(logits[i])} << 32 | ~static_cast<uint32_t>(i));
  }
  best = block_max(best);
  const float largest = value_of(static_cast<uint32_t>(best >> 32));
  int token = static_cast<int>(~static_cast<uint32_t>(best));
  if (best >> 32 == 0 || largest == -INFINITY) {
    token = -1;
  } else if (row.temperature > 0) {
    const Weigher weigh = {largest, row.temperature};
    const int count = gather(logits, p.vocab_size, weigh, candidates);
    token = count <= kSampleCandidates ? draw(row, Gathered{candidates, count}, weigh)
                                       : draw(row, AllLogits{logits, p.vocab_size}, weigh);
  }
  if (threadIdx.x == 0) p.tokens[blockIdx.x] = token;
}

}  // namespace kvi::cuda
