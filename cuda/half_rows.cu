// Norms and activations whose results a matrix product of the fast path reads.
//
// One thread block a row, sums in a fixed order: no result depends on the other rows of a step.
#include "half_rows.h"

#include "half.cuh"
#include "overlap.cuh"

namespace kvi::cuda {
namespace {

constexpr int kHeldValues = 16;  // of a row, in a thread's registers; longer rows are read again

// The sum over a thread block, the same in every thread. Requires: all threads call it.
__device__ float block_sum(float value) {
  __shared__ float of_warp[kHalfThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kHalfThreads / 32; ++warp) sum += of_warp[warp];
  return sum;
}

__device__ float activated(float x, bool gelu) {
  // 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  const float u = gelu ? fmaf(x * x * x, 0.044715f, x) * 1.5957691216057308f : x;
  return x / (1.0f + expf(-u));
}

}  // namespace

// Grid: one thread block an output row.
extern "C" __global__ void __launch_bounds__(kHalfThreads)
    half_norm(const __grid_constant__ HalfNormParams p) {
  wait_for_earlier();
  let_next_start();
  const int64_t from = p.rows != nullptr ? p.rows[blockIdx.x] : blockIdx.x;
  const float* x = p.x + from * p.len;
  uint16_t* out = p.out + blockIdx.x * p.len;

  float held[kHeldValues];
  float sum = 0, squares = 0;
#pragma unroll
  for (int j = 0; j < kHeldValues; ++j) {
    const int64_t i = threadIdx.x + int64_t{j} * kHalfThreads;
    held[j] = i < p.len ? x[i] : 0.0f;
    sum += held[j];
  }
  const int64_t first_unheld = threadIdx.x + int64_t{kHeldValues} * kHalfThreads;
  for (int64_t i = first_unheld; i < p.len; i += kHalfThreads) sum += x[i];

  const float count = static_cast<float>(p.len);
  const float mean = p.norm.form == NormForm::layer ? block_sum(sum) / count : 0.0f;
  float scale = 1;
  if (p.norm.form != NormForm::none) {
#pragma unroll
    for (int j = 0; j < kHeldValues; ++j) {
      const int64_t i = threadIdx.x + int64_t{j} * kHalfThreads;
      const float difference = i < p.len ? held[j] - mean : 0.0f;
      squares = fmaf(difference, difference, squares);
    }
    for (int64_t i = first_unheld; i < p.len; i += kHalfThreads) {
      squares = fmaf(x[i] - mean, x[i] - mean, squares);
    }
    scale = 1.0f / sqrtf(block_sum(squares) / count + p.norm.eps);
  }
  const auto finish = [&](int64_t i, float value) {
    if (p.norm.form != NormForm::none) {
      value = (value - mean) * scale * p.norm.weight[i];
      if (p.norm.bias != nullptr) value += p.norm.bias[i];
    }
    out[i] = to_16_bits(p.format, value);
  };
#pragma unroll
  for (int j = 0; j < kHeldValues; ++j) {
    const int64_t i = threadIdx.x + int64_t{j} * kHalfThreads;
    if (i < p.len) finish(i, held[j]);
  }
  for (int64_t i = first_unheld; i < p.len; i += kHalfThreads) finish(i, x[i]);
}

// Grid: one thread a value.
extern "C" __global__ void __launch_bounds__(kHalfThreads)
    half_activate(const __grid_constant__ HalfActivateParams p) {
  wait_for_earlier();
  let_next_start();
  const int64_t i = int64_t{blockIdx.x} * kHalfThreads + threadIdx.x;
  if (i >= p.count) return;
  const float x = activated(p.gate != nullptr ? p.gate[i] : p.up[i], p.gelu != 0);
  p.out[i] = to_16_bits(p.format, p.gate != nullptr ? x * p.up[i] : x);
}

// Grid: one thread a value.
extern "C" __global__ void __launch_bounds__(kHalfThreads)
    widen(const __grid_constant__ WidenParams p) {
  wait_for_earlier();
  let_next_start();
  const int64_t i = int64_t{blockIdx.x} * kHalfThreads + threadIdx.x;
  if (i < p.count) p.out[i] = from_16_bits(p.format, p.x[i]);
}

}  // namespace kvi::cuda
