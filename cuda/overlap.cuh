// A kernel that starts before the one before it has ended: what it may do when. Nothing on GPUs that cannot.
#pragma once

namespace kvi::cuda {

// From here on everything is visible that earlier kernels wrote. Every thread calls it before it reads or writes
// what others do, also one that has nothing else to do: the next kernel takes its end for theirs.
__device__ __forceinline__ void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may start, as far as there is room; it still waits for this one's end.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

}  // namespace kvi::cuda
