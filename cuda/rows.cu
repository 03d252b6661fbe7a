// Everything between the matrix products: embedding, norms, activations, rotation and the write into pages.
//
// Sums run over a fixed number of threads in a fixed order, one thread block a row or a head, so no result
// depends on the other rows of a step.
#include "rows.h"

#include "blocks.cuh"

namespace kvi::cuda {
namespace {

// The sum over a thread block, the same in every thread. Requires: all threads call it.
template <int kThreads>
__device__ float block_sum(float value) {
  __shared__ float of_warp[kThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += of_warp[warp];
  return sum;
}

struct Normalizer {
  float mean, scale;
};

template <int kThreads>
__device__ __noinline__ Normalizer measure(const NormWeights& norm, const float* x, int64_t len) {
  const float count = static_cast<float>(len);
  float mean = 0;
  if (norm.form == NormForm::layer) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < len; i += kThreads) sum += x[i];
    mean = block_sum<kThreads>(sum) / count;
  }
  float squares = 0;
  for (int64_t i = threadIdx.x; i < len; i += kThreads) {
    const float difference = x[i] - mean;
    squares = fmaf(difference, difference, squares);
  }
  return {mean, 1.0f / sqrtf(block_sum<kThreads>(squares) / count + norm.eps)};
}

__device__ float normed(const NormWeights& norm, Normalizer by, float x, int64_t i) {
  if (norm.form == NormForm::rms) return x * by.scale * norm.weight[i];
  return fmaf((x - by.mean) * by.scale, norm.weight[i], norm.bias != nullptr ? norm.bias[i] : 0.0f);
}

__device__ __noinline__ void load_run_of_any(const MatrixView& matrix, int64_t row, int64_t k,
                                             int64_t cols, float (&w)[kRun]) {
  switch (matrix.format) {
#define KVI_LOAD_CASE(format) \
  case Format::format: load_run_of<Format::format>(matrix, row, k, cols, w); break;
    KVI_CUDA_FORMATS(KVI_LOAD_CASE)
  }
}

__device__ void store(Format format, uint8_t* at, int i, float value) {
  switch (format) {
    case Format::f16: reinterpret_cast<__half*>(at)[i] = __float2half_rn(value); break;
    case Format::bf16: reinterpret_cast<__nv_bfloat16*>(at)[i] = __float2bfloat16_rn(value); break;
    default: reinterpret_cast<float*>(at)[i] = value; break;
  }
}

// Turns the first rotary_dim values of a head in shared memory.
__device__ void rotate(const FinishHeadsParams& p, int row, float* head) {
  const int half = p.rotary_dim / 2;
  const float* angles = p.angles + int64_t{row} * p.rotary_dim;
  for (int i = threadIdx.x; i < half; i += kHeadThreads) {
    float& a = head[p.interleaved ? 2 * i : i];
    float& b = head[p.interleaved ? 2 * i + 1 : i + half];
    const float cosine = angles[2 * i], sine = angles[2 * i + 1];
    const float x = a, y = b;
    a = fmaf(-y, sine, x * cosine);
    b = fmaf(x, sine, y * cosine);
  }
}

}  // namespace

// Grid: one thread block a row.
extern "C" __global__ void __launch_bounds__(kRowThreads)
    embed(const __grid_constant__ EmbedParams p) {
  const int row = blockIdx.x;
  for (int64_t k = threadIdx.x * kRun; k < p.len; k += kRowThreads * kRun) {
    float token[kRun], learned[kRun];
    load_run_of_any(p.tokens, p.token_ids[row], k, p.len, token);
    if (p.learned.data != nullptr) load_run_of_any(p.learned, p.positions[row], k, p.len, learned);
    for (int j = 0; j < kRun && k + j < p.len; ++j) {
      float value = token[j] * p.scale;
      if (p.learned.data != nullptr) value += learned[j];
      p.out[row * p.len + k + j] = value;
    }
  }
}

// Grid: one thread block an output row.
extern "C" __global__ void __launch_bounds__(kRowThreads)
    norm_rows(const __grid_constant__ NormParams p) {
  const int64_t from = p.rows != nullptr ? p.rows[blockIdx.x] : blockIdx.x;
  const float* x = p.x + from * p.len;
  float* out = p.out + blockIdx.x * p.len;
  if (p.norm.form == NormForm::none) {
    for (int64_t i = threadIdx.x; i < p.len; i += kRowThreads) {
      out[i] = p.adds ? out[i] + x[i] : x[i];
    }
    return;
  }
  const Normalizer by = measure<kRowThreads>(p.norm, x, p.len);
  for (int64_t i = threadIdx.x; i < p.len; i += kRowThreads) {
    const float value = normed(p.norm, by, x[i], i);
    out[i] = p.adds ? out[i] + value : value;
  }
}

// Grid: one thread a value.
extern "C" __global__ void __launch_bounds__(kRowThreads)
    activate(const __grid_constant__ ActivateParams p) {
  const int64_t i = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (i >= p.count) return;
  const float x = p.gate != nullptr ? p.gate[i] : p.up[i];
  // 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  const float u = p.gelu ? fmaf(x * x * x, 0.044715f, x) * 1.5957691216057308f : x;
  const float active = x / (1.0f + expf(-u));
  p.out[i] = p.gate != nullptr ? active * p.up[i] : active;
}

// Grid: one thread a value.
extern "C" __global__ void __launch_bounds__(kRowThreads)
    softcap(const __grid_constant__ SoftcapParams p) {
  const int64_t i = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (i < p.count) p.x[i] = p.cap * tanhf(p.x[i] / p.cap);
}

// Grid: one thread an angle.
extern "C" __global__ void __launch_bounds__(kRowThreads)
    rotary_angles(const __grid_constant__ AnglesParams p) {
  const int64_t i = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (i >= int64_t{p.num_rows} * p.half) return;
  const double angle = p.positions[i / p.half] * p.inverse_frequencies[i % p.half];
  p.angles[2 * i] = static_cast<float>(cos(angle) * p.factor);
  p.angles[2 * i + 1] = static_cast<float>(sin(angle) * p.factor);
}

// Grid: (rows, query heads, then key heads, then value heads). Dynamic shared memory: one head of f32.
extern "C" __global__ void __launch_bounds__(kHeadThreads)
    finish_heads(const __grid_constant__ FinishHeadsParams p) {
  extern __shared__ float head[];
  const int row = blockIdx.x;
  const bool is_query = blockIdx.y < p.num_heads;
  const bool is_value = blockIdx.y >= p.num_heads + p.num_kv_heads;
  const int h = is_query ? blockIdx.y : (blockIdx.y - p.num_heads) % p.num_kv_heads;
  float* query = p.queries + (int64_t{row} * p.num_heads + h) * p.head_dim;
  const int64_t kv = (int64_t{row} * p.num_kv_heads + h) * p.head_dim;
  const float* x = is_query ? query : (is_value ? p.values : p.keys) + kv;

  NormWeights norm = is_query ? p.q_norm : p.k_norm;
  if (is_value) norm.form = NormForm::none;
  Normalizer by = {};
  if (norm.form != NormForm::none) by = measure<kHeadThreads>(norm, x, p.head_dim);
  for (int i = threadIdx.x; i < p.head_dim; i += kHeadThreads) {
    head[i] = norm.form != NormForm::none ? normed(norm, by, x[i], i) : x[i];
  }
  __syncthreads();
  if (!is_value && p.angles != nullptr) rotate(p, row, head);
  __syncthreads();

  if (is_query) {
    for (int i = threadIdx.x; i < p.head_dim; i += kHeadThreads) query[i] = head[i];
    return;
  }
  const int position = p.positions[row];
  const int64_t page =
      p.tables.pages[p.tables.first[p.tables.sequence[row]] + (position >> p.page_shift)];
  const PagePlane& plane = is_value ? p.value : p.key;
  uint8_t* slot = p.pages + page * p.page_bytes + plane.offset + h * plane.head_stride +
                  (position & ((1 << p.page_shift) - 1)) * plane.slot_stride;
  for (int i = threadIdx.x; i < p.head_dim; i += kHeadThreads) store(p.format, slot, i, head[i]);
}

}  // namespace kvi::cuda
