// A CUDA driver without a GPU: memory is the host's, kernels do nothing, any call can be made to fail.
//
// It counts what is taken and not given back. One at a time. Its calls come from any thread; who looks or changes what is
// below meanwhile holds its mutex.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backend/cuda/driver.h"

namespace kvi::cuda {

class FakeDriver {
 public:
  FakeDriver();
  ~FakeDriver();
  FakeDriver(const FakeDriver&) = delete;
  FakeDriver& operator=(const FakeDriver&) = delete;

  std::shared_ptr<const Driver> open() { return resolve_driver(get_proc_address()); }
  static GetProcAddress get_proc_address();

  // ---- the machine ----
  int version = CUDA_VERSION;
  int num_devices = 1;
  int major = 9, minor = 0;
  bool maps_memory = true;
  uint64_t memory_bytes = uint64_t{1} << 30;
  std::set<std::string> missing;  // entry points that it lacks

  // ---- faults ----
  // The call number fail_at, from 0, returns fault; a sticky one makes all later calls fail too.
  int64_t fail_at = -1;
  CUresult fault = CUDA_ERROR_OUT_OF_MEMORY;
  std::string fail_call;  // instead: every call of this name

  // ---- what happened ----
  int64_t num_calls = 0;
  std::vector<std::string> calls;  // by name
  std::string failed_call;         // the first that was made to fail

  // ---- what is out ----
  uint64_t allocated_bytes = 0;  // by cuMemAlloc and cuMemCreate
  int num_buffers = 0, num_pinned = 0, num_handles = 0, num_mappings = 0, num_ranges = 0;
  int num_contexts = 0, num_streams = 0, num_libraries = 0, num_graphs = 0, num_events = 0,
      num_registered = 0;
  int context_depth = 0;
  bool is_clean() const {
    return num_buffers + num_pinned + num_handles + num_mappings + num_ranges + num_contexts +
                   num_streams + num_libraries + num_graphs + num_events + num_registered +
                   context_depth ==
               0 &&
           allocated_bytes == 0;
  }

  // The driver's side.
  std::mutex mutex;
  CUresult enter(const char* name);
  bool takes(uint64_t num_bytes);       // false: the card is full
  std::map<uintptr_t, uint64_t> sizes;  // of what lies there

 private:
  bool is_dead_ = false;
};

}  // namespace kvi::cuda
