// The library's kernels on one device: images that nvcc made at build time, loaded when a device is opened.
//
// Thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "backend/cuda/device.h"
#include "cuda/kernels.h"

namespace kvi::cuda {

enum class Kernel : int {
#define KVI_CUDA_KERNEL_NAME(image, kernel) kernel,
  KVI_CUDA_KERNELS(KVI_CUDA_KERNEL_NAME)
#undef KVI_CUDA_KERNEL_NAME
};
const char* kernel_name(Kernel kernel);

struct Grid {
  uint32_t x = 1, y = 1;
  uint32_t num_threads = 1;
  uint32_t shared_bytes = 0;  // dynamic
  // Starts while the kernel before it still runs: it waits for its results itself (griddepcontrol.wait, in every
  // thread, before it reads or writes what others do).
  bool overlaps = false;
  uint32_t z = 1;
  uint32_t cluster =
      1;  // thread blocks along x that share their memory; more than 1: capability 9.0
};

CUlaunchAttribute cluster_attribute(const Grid& grid);

constexpr int kLeastOverlappingMajor = 9;  // the compute capability that can

class Kernels {
 public:
  explicit Kernels(std::shared_ptr<const Device> device);
  ~Kernels();
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  // Lets a kernel have so much dynamic shared memory: more than 48 KiB must be asked for.
  void allow_shared_bytes(Kernel kernel, int num_bytes) const;

  // Enqueues a kernel, whose one parameter is a struct of cuda/. Nothing for an empty grid.
  template <typename Params>
  void launch(Kernel kernel, Grid grid, const Params& params) const {
    launch_with(kernel, grid, const_cast<Params*>(&params));
  }

  CUfunction function(Kernel kernel) const { return functions_[static_cast<size_t>(kernel)]; }

 private:
  void launch_with(Kernel kernel, Grid grid, void* params) const;
  void unload() noexcept;

  std::shared_ptr<const Device> device_;
  std::vector<CUlibrary> libraries_;
  std::vector<CUfunction> functions_;  // [Kernel]
};

}  // namespace kvi::cuda
