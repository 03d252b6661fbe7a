// The kernels of a format: one for each number of token tiles.
#pragma once

#include "batch_linear.cuh"
#include "stream_linear.cuh"

namespace kvi::cuda {

template <Format F, typename Weights, int kTokenTiles>
__device__ void streamed(const StreamParams& p) {
  constexpr StreamKernel kKernel = stream_kernel(F, kTokenTiles);
  if constexpr (kKernel.is_batch()) {
    using Shape = BatchShape<kTokenTiles, kKernel.row_warps, kKernel.row_tiles, kKernel.depth>;
    static_assert(batch_shared_bytes<Weights, Shape>() == stream_shared_bytes(F, kKernel));
    batch<Weights, Shape>(p);
  } else {
    using Shape = StreamShape<kTokenTiles, kKernel.col_warps, kKernel.row_warps, kKernel.row_tiles,
                              kKernel.depth>;
    static_assert(stream_shared_bytes<Weights, Shape>() == stream_shared_bytes(F, kKernel));
    stream<Weights, Shape>(p);
  }
}

}  // namespace kvi::cuda

#define KVI_STREAM_KERNEL(format, tiles, ...)                                               \
  extern "C" __global__ void __launch_bounds__(                                             \
      kvi::cuda::stream_kernel(kvi::cuda::Format::format, tiles).threads())                 \
      stream_##format##_##tiles(const __grid_constant__ kvi::cuda::StreamParams p) {        \
    using namespace kvi::cuda;                                                              \
    streamed<Format::format, __VA_ARGS__, tiles>(p);                                        \
  }
#define KVI_STREAM_KERNELS(format, ...)    \
  KVI_STREAM_KERNEL(format, 1, __VA_ARGS__) \
  KVI_STREAM_KERNEL(format, 2, __VA_ARGS__) \
  KVI_STREAM_KERNEL(format, 4, __VA_ARGS__) \
  KVI_STREAM_KERNEL(format, 8, __VA_ARGS__)
