// The plain matrix product: weights of any format, expanded as they are read, and f32 sums.
//
// A value's sum has one order, whatever the number of tokens: each lane adds the runs 8 lane, 8 lane + 256, ...
// and a butterfly adds the lanes. Correct for every shape; the measure for faster kernels.
#include "blocks.cuh"
#include "linear.h"

namespace kvi::cuda {
namespace {

// Grid: (rows / kLinearRows, tokens / kLinearTokens), rounded up; a warp computes one weight row for
// kLinearTokens tokens.
template <Format F>
__device__ void multiply(const LinearParams& p) {
  const int lane = threadIdx.x % 32;
  const int64_t row = int64_t{blockIdx.x} * kLinearRows + threadIdx.x / 32;
  const int first = blockIdx.y * kLinearTokens;
  if (row >= p.rows) return;
  float sums[kLinearTokens] = {};
  for (int64_t k = lane * kRun; k < p.cols; k += 32 * kRun) {
    float w[kRun];
    load_run_of<F>(p.weight, row, k, p.cols, w);
#pragma unroll
    for (int t = 0; t < kLinearTokens; ++t) {
      // Past the last token its sum is computed again, and dropped.
      const float* x = p.x + int64_t{min(first + t, p.num_tokens - 1)} * p.cols + k;
#pragma unroll
      for (int j = 0; j < kRun; ++j) {
        if (k + j < p.cols) sums[t] = fmaf(w[j], x[j], sums[t]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kLinearTokens; ++t) {
    for (int distance = 16; distance > 0; distance /= 2) {
      sums[t] += __shfl_xor_sync(~0u, sums[t], distance);
    }
    if (lane == 0 && first + t < p.num_tokens) {
      const float sum = p.bias != nullptr ? sums[t] + p.bias[row] : sums[t];
      float* out = p.out + int64_t{first + t} * p.rows + row;
      *out = p.adds ? *out + sum : sum;
    }
  }
}

}  // namespace

#define KVI_LINEAR_KERNEL(format)                               \
  extern "C" __global__ void __launch_bounds__(kLinearThreads)  \
      linear_##format(const __grid_constant__ LinearParams p) { \
    multiply<Format::format>(p);                                \
  }
KVI_CUDA_FORMATS(KVI_LINEAR_KERNEL)

}  // namespace kvi::cuda
