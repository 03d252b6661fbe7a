// What the memory of a GPU gives at most to a kernel that only reads.
#include <cstdint>

struct ReadParams {
  const uint4* data;  // [count]
  uint32_t* out;      // [1]: written where the sum of all is what nobody expects
  int64_t count;
};

constexpr int kAtOnce = 8;

extern "C" __global__ void __launch_bounds__(512) read_only(const __grid_constant__ ReadParams p) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  uint32_t sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < p.count;
       i += kAtOnce * stride) {
    uint4 values[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      values[j] = i + j * stride < p.count ? __ldcs(p.data + i + j * stride) : uint4{};
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      sum += values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
    }
  }
  if (sum == 0x5eed5eedu) *p.out = sum;
}
