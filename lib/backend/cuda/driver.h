// The CUDA driver, found at run time: its entry points as a table of functions.
//
// The library links no CUDA: libcuda.so.1 is opened when somebody asks for a device, and each entry point comes
// from cuGetProcAddress under the version whose signature is compiled here. A test gives a cuGetProcAddress of
// its own, and so a driver.
//
// Immutable once made, so thread-safe.
#pragma once

#include <cuda.h>

#include <memory>
#include <string>

namespace kvi::cuda {

// X(member, function, the CUDA version that gave it this signature)
#define KVI_CUDA_DRIVER_CALLS(X)                                           \
  X(init, cuInit, 2000)                                                    \
  X(driver_get_version, cuDriverGetVersion, 2020)                          \
  X(get_error_name, cuGetErrorName, 6000)                                  \
  X(get_error_string, cuGetErrorString, 6000)                              \
  X(device_get_count, cuDeviceGetCount, 2000)                              \
  X(device_get, cuDeviceGet, 2000)                                         \
  X(device_get_name, cuDeviceGetName, 2000)                                \
  X(device_get_attribute, cuDeviceGetAttribute, 2000)                      \
  X(device_total_mem, cuDeviceTotalMem, 3020)                              \
  X(primary_ctx_retain, cuDevicePrimaryCtxRetain, 7000)                    \
  X(primary_ctx_release, cuDevicePrimaryCtxRelease, 11000)                 \
  X(ctx_push_current, cuCtxPushCurrent, 4000)                              \
  X(ctx_pop_current, cuCtxPopCurrent, 4000)                                \
  X(stream_create, cuStreamCreate, 2000)                                   \
  X(stream_destroy, cuStreamDestroy, 4000)                                 \
  X(stream_synchronize, cuStreamSynchronize, 2000)                         \
  X(stream_wait_event, cuStreamWaitEvent, 3020)                            \
  X(event_create, cuEventCreate, 2000)                                     \
  X(event_destroy, cuEventDestroy, 4000)                                   \
  X(event_record, cuEventRecord, 2000)                                     \
  X(event_elapsed_time, cuEventElapsedTime, 2000)                          \
  X(mem_host_register, cuMemHostRegister, 6050)                            \
  X(mem_host_unregister, cuMemHostUnregister, 4000)                        \
  X(mem_get_info, cuMemGetInfo, 3020)                                      \
  X(mem_alloc, cuMemAlloc, 3020)                                           \
  X(mem_free, cuMemFree, 3020)                                             \
  X(mem_host_alloc, cuMemHostAlloc, 2020)                                  \
  X(mem_free_host, cuMemFreeHost, 2000)                                    \
  X(mem_address_reserve, cuMemAddressReserve, 10020)                       \
  X(mem_address_free, cuMemAddressFree, 10020)                             \
  X(mem_create, cuMemCreate, 10020)                                        \
  X(mem_release, cuMemRelease, 10020)                                      \
  X(mem_map, cuMemMap, 10020)                                              \
  X(mem_unmap, cuMemUnmap, 10020)                                          \
  X(mem_set_access, cuMemSetAccess, 10020)                                 \
  X(memcpy_h_to_d_async, cuMemcpyHtoDAsync, 3020)                          \
  X(memcpy_d_to_h_async, cuMemcpyDtoHAsync, 3020)                          \
  X(memcpy_d_to_d_async, cuMemcpyDtoDAsync, 3020)                          \
  X(memset_d8_async, cuMemsetD8Async, 3020)                                \
  X(library_load_data, cuLibraryLoadData, 12000)                           \
  X(library_unload, cuLibraryUnload, 12000)                                \
  X(library_get_kernel, cuLibraryGetKernel, 12000)                         \
  X(kernel_get_function, cuKernelGetFunction, 12000)                       \
  X(func_set_attribute, cuFuncSetAttribute, 9000)                          \
  X(launch_kernel_ex, cuLaunchKernelEx, 11060)                             \
  X(graph_create, cuGraphCreate, 10000)                                    \
  X(graph_destroy, cuGraphDestroy, 10000)                                  \
  X(graph_add_node, cuGraphAddNode, 12030)                                 \
  X(graph_kernel_node_set_attribute, cuGraphKernelNodeSetAttribute, 11000) \
  X(graph_instantiate, cuGraphInstantiateWithFlags, 11040)                 \
  X(graph_exec_destroy, cuGraphExecDestroy, 10000)                         \
  X(graph_launch, cuGraphLaunch, 10000)                                    \
  X(tensor_map_encode_tiled, cuTensorMapEncodeTiled, 12000)

struct DriverApi {
#define KVI_CUDA_MEMBER(member, function, version) decltype(&::function) member = nullptr;
  KVI_CUDA_DRIVER_CALLS(KVI_CUDA_MEMBER)
#undef KVI_CUDA_MEMBER
};

struct Driver {
  DriverApi api;
  int version = 0;          // the newest CUDA that it runs, as 13000
  bool is_systems = false;  // not one that a test made: CUDA's other libraries go with it
};

// The oldest driver that runs kernels of this build: of the same major version (CUDA's minor-version
// compatibility).
inline constexpr int kLeastDriverVersion = CUDA_VERSION / 1000 * 1000;

std::string version_text(int version);  // "13.0"

using GetProcAddress = decltype(&::cuGetProcAddress);

// Opens the system's driver. Throws UNSUPPORTED: there is none, or it is too old.
std::shared_ptr<const Driver> open_driver();
// The driver that get_proc_address belongs to, initialized. Throws UNSUPPORTED, or as error_of says.
std::shared_ptr<const Driver> resolve_driver(GetProcAddress get_proc_address,
                                             bool is_systems = false);

}  // namespace kvi::cuda
