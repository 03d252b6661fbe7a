// Copies pages to and from the host beside the kernels: a stream for each direction.
//
// A copy begins after what was enqueued on the device's stream before it.
//
// Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <span>

#include "backend/backend.h"
#include "backend/cuda/device.h"

namespace kvi::cuda {

class PageStreams {
 public:
  explicit PageStreams(std::shared_ptr<const Device> device);
  ~PageStreams();
  PageStreams(const PageStreams&) = delete;
  PageStreams& operator=(const PageStreams&) = delete;

  void transfer(std::span<const PageTransfer> transfers);  // done on return

 private:
  void release() noexcept;
  void enqueue(std::span<const PageTransfer> transfers);

  const std::shared_ptr<const Device> device_;
  CUstream in_ = nullptr, out_ = nullptr;
  CUevent enqueued_ = nullptr;
  std::mutex mutex_;  // of the event
};

}  // namespace kvi::cuda
