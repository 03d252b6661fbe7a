// The instructions that fast kernels are made of: tensor-core products, asynchronous copies, and the order of
// dependent grids.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace kvi::cuda {

// sums[16 x 8] += a[16 x 16] * b[16 x 8] over a warp. Lane 4g + t holds of a the columns {2t, 2t+1} of rows g and g + 8,
// then {2t+8, 2t+9} of both; of b the same columns as rows, of its column g; of sums rows g, g + 8 of columns 2t, 2t+1.
template <typename Half>
__device__ inline void multiply_add(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1);
#define KVI_MULTIPLY_ADD(Half, name)                                                            \
  template <>                                                                                   \
  __device__ inline void multiply_add<Half>(float (&sums)[4], uint32_t a0, uint32_t a1,         \
                                            uint32_t a2, uint32_t a3, uint32_t b0,              \
                                            uint32_t b1) {                                      \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                                  \
        ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                            \
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                            \
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                                \
  }
KVI_MULTIPLY_ADD(__half, "f16")
KVI_MULTIPLY_ADD(__nv_bfloat16, "bf16")
#undef KVI_MULTIPLY_ADD

// A step of 32 columns for a warp's tiles, as the fast products order them: of a lane's 8 neighbouring columns of
// weights (rows g and g + 8) and of token g the first four are its part of one product, the others of the next. All the
// first ones come before the others: each waits for the one before it on the same sums.
template <typename Half, int kRowTiles, int kTokenTiles>
__device__ inline void multiply_step(float (&sums)[kRowTiles][kTokenTiles][4],
                                     const uint32_t (&weights)[kRowTiles][2][4],
                                     const uint4 (&x)[kTokenTiles]) {
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      multiply_add<Half>(sums[r][n], weights[r][0][0], weights[r][1][0], weights[r][0][1],
                         weights[r][1][1], x[n].x, x[n].y);
    }
  }
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      multiply_add<Half>(sums[r][n], weights[r][0][2], weights[r][1][2], weights[r][0][3],
                         weights[r][1][3], x[n].z, x[n].w);
    }
  }
}

// 16 bytes that are read once, past L1, into shared memory. Ordered by commit_copies and wait_for_copies.
__device__ inline void copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;"
               :
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "l"(global)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all of this thread's groups but the latest kPending have arrived.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
}

// Programmatic dependent launch: what the kernel before wrote may be read after wait_for_grid_before; the kernel
// after may start, and wait, from start_grid_after on. Both do nothing in an ordinary launch.
__device__ inline void wait_for_grid_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void start_grid_after() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// A cluster of thread blocks: all arrive, then what they wrote into shared memory is readable by the others.
__device__ inline void meet_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}
// Of the block with that rank, at the address where this block has local: four values, aligned.
__device__ inline float4 read_of_block(const float* local, uint32_t rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  float4 value;
  asm volatile(
      "{.reg .u32 at;\nmapa.shared::cluster.u32 at, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [at];}"
      : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
      : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(local))), "r"(rank));
  return value;
#else
  return *reinterpret_cast<const float4*>(local);
#endif
}

}  // namespace kvi::cuda
