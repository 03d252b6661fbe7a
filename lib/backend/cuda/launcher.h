// Enqueues kernels for one executor, and notes them while a graph is to be made of them.
//
// Not thread-safe; the executor's.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/kernels.h"

namespace kvi::cuda {

// Launches in their order, each with a copy of its parameters.
class LaunchList {
 public:
  struct Launch {
    Kernel kernel;
    Grid grid;
    std::byte* params;
  };

  void add(Kernel kernel, const Grid& grid, std::span<const std::byte> params);
  const std::vector<Launch>& launches() const { return launches_; }

 private:
  std::vector<Launch> launches_;
  std::vector<std::unique_ptr<std::byte[]>> params_;
};

// A list of launches that the GPU runs as one, with the gaps between them overlapped.
class LaunchGraph {
 public:
  LaunchGraph(std::shared_ptr<const Device> device, const Kernels& kernels, const LaunchList& list);
  ~LaunchGraph();
  LaunchGraph(const LaunchGraph&) = delete;
  LaunchGraph& operator=(const LaunchGraph&) = delete;

  void run() const;  // enqueues it on the device's stream

 private:
  void add_nodes(CUgraph graph, const Kernels& kernels, const LaunchList& list) const;

  const std::shared_ptr<const Device> device_;
  CUgraphExec graph_ = nullptr;
};

class Launcher {
 public:
  explicit Launcher(std::shared_ptr<const Kernels> kernels) : kernels_(std::move(kernels)) {}

  template <typename Params>
  void launch(Kernel kernel, const Grid& grid, const Params& params) {
    kernels_->launch(kernel, grid, params);
    if (noted_ != nullptr && grid.x > 0 && grid.y > 0) {
      noted_->add(kernel, grid, std::as_bytes(std::span(&params, 1)));
    }
  }
  // Notes what is launched from now on; nullptr: no more.
  void note(LaunchList* list) { noted_ = list; }
  bool is_noting() const { return noted_ != nullptr; }
  const Kernels& kernels() const { return *kernels_; }

 private:
  const std::shared_ptr<const Kernels> kernels_;
  LaunchList* noted_ = nullptr;
};

}  // namespace kvi::cuda
