// Bulk tensor copies into shared memory, and the barriers that tell of them (sm_90).
#pragma once

#include <cstdint>

#include "paged_attention.h"

namespace kvi::cuda {

#if __CUDA_ARCH__ >= 900

__device__ inline void make_barrier(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ inline void wait_for_phase(uint32_t barrier, int parity) {
  asm volatile(
      "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
      "@done bra finished; bra again; finished: }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ inline void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void expect_bytes(uint32_t barrier, int num_bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
               "r"(num_bytes)
               : "memory");
}
__device__ inline void copy_box(uint32_t to, const TensorMap& map, int dim, int slot, int head,
                                int page, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
      "l"(&map), "r"(dim), "r"(slot), "r"(head), "r"(page), "r"(barrier)
      : "memory");
}
__device__ inline void sync_named(int barrier, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}
__device__ inline void arrive_named(int barrier, int num_threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}

#endif

}  // namespace kvi::cuda
