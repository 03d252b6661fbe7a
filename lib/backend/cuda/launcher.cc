#include "backend/cuda/launcher.h"

#include <cstring>

#include "base/text.h"

namespace kvi::cuda {

void LaunchList::add(Kernel kernel, const Grid& grid, std::span<const std::byte> params) {
  params_.push_back(std::make_unique<std::byte[]>(params.size()));  // aligned for any struct
  std::memcpy(params_.back().get(), params.data(), params.size());
  launches_.push_back({kernel, grid, params_.back().get()});
}

LaunchGraph::LaunchGraph(std::shared_ptr<const Device> device, const Kernels& kernels,
                         const LaunchList& list)
    : device_(std::move(device)) {
  const DriverApi& api = device_->api();
  const CurrentContext current(*device_);
  CUgraph graph = nullptr;
  device_->check(api.graph_create(&graph, 0), "make a graph");
  try {
    add_nodes(graph, kernels, list);
    device_->check(api.graph_instantiate(&graph_, graph, 0), "prepare a graph");
  } catch (...) {
    api.graph_destroy(graph);
    throw;
  }
  api.graph_destroy(graph);
}

// One after the other; a kernel that overlaps waits inside for the one before it.
void LaunchGraph::add_nodes(CUgraph graph, const Kernels& kernels, const LaunchList& list) const {
  CUgraphNode last = nullptr;
  for (const LaunchList::Launch& launch : list.launches()) {
    void* params[] = {launch.params};
    CUgraphNodeParams node = {};
    node.type = CU_GRAPH_NODE_TYPE_KERNEL;
    node.kernel.func = kernels.function(launch.kernel);
    node.kernel.gridDimX = launch.grid.x;
    node.kernel.gridDimY = launch.grid.y;
    node.kernel.gridDimZ = launch.grid.z;
    node.kernel.blockDimX = launch.grid.num_threads;
    node.kernel.blockDimY = node.kernel.blockDimZ = 1;
    node.kernel.sharedMemBytes = launch.grid.shared_bytes;
    node.kernel.kernelParams = params;
    CUgraphEdgeData edge = {};
    if (launch.grid.overlaps && device_->info().major >= kLeastOverlappingMajor) {
      edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
      edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
    }
    CUgraphNode added = nullptr;
    device_->check(device_->api().graph_add_node(&added, graph, last != nullptr ? &last : nullptr,
                                                 last != nullptr ? &edge : nullptr,
                                                 last != nullptr ? 1 : 0, &node),
                   concat("add ", kernel_name(launch.kernel), " to a graph"));
    if (launch.grid.cluster > 1) {
      const CUlaunchAttribute cluster = cluster_attribute(launch.grid);
      device_->check(
          device_->api().graph_kernel_node_set_attribute(added, cluster.id, &cluster.value),
          concat("shape ", kernel_name(launch.kernel), " in a graph"));
    }
    last = added;
  }
}

LaunchGraph::~LaunchGraph() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().graph_exec_destroy(graph_);
}

void LaunchGraph::run() const {
  const CurrentContext current(*device_);
  device_->check(device_->api().graph_launch(graph_, device_->stream()), "run a graph");
}

}  // namespace kvi::cuda
