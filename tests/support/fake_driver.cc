#include "support/fake_driver.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "backend/cuda/driver_error.h"

namespace kvi::cuda {
namespace {

FakeDriver* fake = nullptr;
constexpr int kLeftByOthers = 0xa5;  // what new memory holds: as floats small numbers

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

void* allocate(uint64_t num_bytes) {
  void* data = std::calloc(num_bytes, 1);  // as if kernels, which do nothing, had written zeros
  fake->sizes[reinterpret_cast<uintptr_t>(data)] = num_bytes;
  return data;
}

uint64_t forget(uintptr_t at) {
  const auto place = fake->sizes.find(at);
  if (place == fake->sizes.end()) return 0;
  const uint64_t num_bytes = place->second;
  fake->sizes.erase(place);
  return num_bytes;
}

// What fails has no effect; what gives something back has one though it fails, as on a lost device.
#define HOLD const std::lock_guard hold(fake->mutex)
#define ENTER(name) \
  HOLD;             \
  if (const CUresult result = fake->enter(name); result != CUDA_SUCCESS) return result

CUresult init(unsigned) {
  ENTER("cuInit");
  return CUDA_SUCCESS;
}
CUresult driver_get_version(int* version) {
  ENTER("cuDriverGetVersion");
  *version = fake->version;
  return CUDA_SUCCESS;
}
CUresult get_error_name(CUresult result, const char** name) {
  *name = result == CUDA_ERROR_OUT_OF_MEMORY   ? "CUDA_ERROR_OUT_OF_MEMORY"
          : result == CUDA_ERROR_LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
          : result == CUDA_ERROR_INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE"
                                               : nullptr;
  return *name != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult get_error_string(CUresult, const char** text) {
  *text = "made up by a test";
  return CUDA_SUCCESS;
}
CUresult device_get_count(int* count) {
  ENTER("cuDeviceGetCount");
  *count = fake->num_devices;
  return CUDA_SUCCESS;
}
CUresult device_get(CUdevice* device, int index) {
  ENTER("cuDeviceGet");
  *device = index;
  return CUDA_SUCCESS;
}
CUresult device_get_name(char* name, int size, CUdevice) {
  ENTER("cuDeviceGetName");
  std::strncpy(name, "Fake GPU", static_cast<size_t>(size));
  return CUDA_SUCCESS;
}
CUresult device_get_attribute(int* value, CUdevice_attribute attribute, CUdevice) {
  ENTER("cuDeviceGetAttribute");
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = fake->major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = fake->minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
    default: *value = fake->maps_memory; break;
  }
  return CUDA_SUCCESS;
}
CUresult device_total_mem(size_t* num_bytes, CUdevice) {
  ENTER("cuDeviceTotalMem");
  *num_bytes = fake->memory_bytes;
  return CUDA_SUCCESS;
}
CUresult primary_ctx_retain(CUcontext* context, CUdevice) {
  ENTER("cuDevicePrimaryCtxRetain");
  *context = reinterpret_cast<CUcontext>(fake);
  ++fake->num_contexts;
  return CUDA_SUCCESS;
}
CUresult primary_ctx_release(CUdevice) {
  HOLD;
  --fake->num_contexts;
  return fake->enter("cuDevicePrimaryCtxRelease");
}
CUresult ctx_push_current(CUcontext) {
  ENTER("cuCtxPushCurrent");
  ++fake->context_depth;
  return CUDA_SUCCESS;
}
CUresult ctx_pop_current(CUcontext* context) {
  HOLD;
  --fake->context_depth;
  *context = nullptr;
  return fake->enter("cuCtxPopCurrent");
}
CUresult stream_create(CUstream* stream, unsigned) {
  ENTER("cuStreamCreate");
  *stream = reinterpret_cast<CUstream>(fake);
  ++fake->num_streams;
  return CUDA_SUCCESS;
}
CUresult stream_destroy(CUstream) {
  HOLD;
  --fake->num_streams;
  return fake->enter("cuStreamDestroy");
}
CUresult stream_synchronize(CUstream) {
  ENTER("cuStreamSynchronize");
  return CUDA_SUCCESS;
}
CUresult stream_wait_event(CUstream, CUevent, unsigned) {
  ENTER("cuStreamWaitEvent");
  return CUDA_SUCCESS;
}
CUresult event_create(CUevent* event, unsigned) {
  ENTER("cuEventCreate");
  *event = reinterpret_cast<CUevent>(fake);
  ++fake->num_events;
  return CUDA_SUCCESS;
}
CUresult event_destroy(CUevent) {
  --fake->num_events;
  ENTER("cuEventDestroy");
  return CUDA_SUCCESS;
}
CUresult event_record(CUevent, CUstream) {
  ENTER("cuEventRecord");
  return CUDA_SUCCESS;
}
CUresult event_elapsed_time(float* milliseconds, CUevent, CUevent) {
  ENTER("cuEventElapsedTime");
  *milliseconds = 1;
  return CUDA_SUCCESS;
}
CUresult mem_host_register(void*, size_t, unsigned) {
  ENTER("cuMemHostRegister");
  ++fake->num_registered;
  return CUDA_SUCCESS;
}
CUresult mem_host_unregister(void*) {
  --fake->num_registered;
  ENTER("cuMemHostUnregister");
  return CUDA_SUCCESS;
}
CUresult mem_get_info(size_t* free, size_t* total) {
  ENTER("cuMemGetInfo");
  *free = fake->memory_bytes - fake->allocated_bytes;
  *total = fake->memory_bytes;
  return CUDA_SUCCESS;
}
CUresult mem_alloc(CUdeviceptr* address, size_t num_bytes) {
  ENTER("cuMemAlloc");
  if (!fake->takes(num_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(allocate(num_bytes));
  ++fake->num_buffers;
  return CUDA_SUCCESS;
}
CUresult mem_free(CUdeviceptr address) {
  HOLD;
  fake->allocated_bytes -= forget(address);
  --fake->num_buffers;
  std::free(pointer(address));
  return fake->enter("cuMemFree");
}
CUresult mem_host_alloc(void** data, size_t num_bytes, unsigned) {
  ENTER("cuMemHostAlloc");
  *data = allocate(num_bytes);
  ++fake->num_pinned;
  return CUDA_SUCCESS;
}
CUresult mem_free_host(void* data) {
  HOLD;
  forget(reinterpret_cast<uintptr_t>(data));
  --fake->num_pinned;
  std::free(data);
  return fake->enter("cuMemFreeHost");
}
CUresult mem_address_reserve(CUdeviceptr* address, size_t num_bytes, size_t, CUdeviceptr,
                             unsigned long long) {
  ENTER("cuMemAddressReserve");
  void* data = mmap(nullptr, num_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                    0);
  if (data == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(data);
  ++fake->num_ranges;
  return CUDA_SUCCESS;
}
CUresult mem_address_free(CUdeviceptr address, size_t num_bytes) {
  HOLD;
  munmap(pointer(address), num_bytes);
  --fake->num_ranges;
  return fake->enter("cuMemAddressFree");
}
CUresult mem_create(CUmemGenericAllocationHandle* handle, size_t num_bytes,
                    const CUmemAllocationProp*, unsigned long long) {
  ENTER("cuMemCreate");
  if (!fake->takes(num_bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  *handle = num_bytes;
  ++fake->num_handles;
  return CUDA_SUCCESS;
}
CUresult mem_release(CUmemGenericAllocationHandle handle) {
  HOLD;
  fake->allocated_bytes -= handle;
  --fake->num_handles;
  return fake->enter("cuMemRelease");
}
CUresult mem_map(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long) {
  ENTER("cuMemMap");
  ++fake->num_mappings;
  return CUDA_SUCCESS;
}
CUresult mem_unmap(CUdeviceptr address, size_t num_bytes) {
  HOLD;
  mprotect(pointer(address), num_bytes, PROT_NONE);
  --fake->num_mappings;
  return fake->enter("cuMemUnmap");
}
CUresult mem_set_access(CUdeviceptr address, size_t num_bytes, const CUmemAccessDesc*, size_t) {
  ENTER("cuMemSetAccess");
  mprotect(pointer(address), num_bytes, PROT_READ | PROT_WRITE);
  std::memset(pointer(address), kLeftByOthers, num_bytes);
  return CUDA_SUCCESS;
}
CUresult memcpy_h_to_d_async(CUdeviceptr to, const void* from, size_t num_bytes, CUstream) {
  ENTER("cuMemcpyHtoDAsync");
  std::memcpy(pointer(to), from, num_bytes);
  return CUDA_SUCCESS;
}
CUresult memcpy_d_to_h_async(void* to, CUdeviceptr from, size_t num_bytes, CUstream) {
  ENTER("cuMemcpyDtoHAsync");
  std::memcpy(to, pointer(from), num_bytes);
  return CUDA_SUCCESS;
}
CUresult memcpy_d_to_d_async(CUdeviceptr to, CUdeviceptr from, size_t num_bytes, CUstream) {
  ENTER("cuMemcpyDtoDAsync");
  std::memcpy(pointer(to), pointer(from), num_bytes);
  return CUDA_SUCCESS;
}
CUresult memset_d8_async(CUdeviceptr to, unsigned char value, size_t num_bytes, CUstream) {
  ENTER("cuMemsetD8Async");
  std::memset(pointer(to), value, num_bytes);
  return CUDA_SUCCESS;
}
CUresult library_load_data(CUlibrary* library, const void*, CUjit_option*, void**, unsigned,
                           CUlibraryOption*, void**, unsigned) {
  ENTER("cuLibraryLoadData");
  *library = reinterpret_cast<CUlibrary>(fake);
  ++fake->num_libraries;
  return CUDA_SUCCESS;
}
CUresult library_unload(CUlibrary) {
  HOLD;
  --fake->num_libraries;
  return fake->enter("cuLibraryUnload");
}
CUresult library_get_kernel(CUkernel* kernel, CUlibrary, const char*) {
  ENTER("cuLibraryGetKernel");
  *kernel = reinterpret_cast<CUkernel>(fake);
  return CUDA_SUCCESS;
}
CUresult kernel_get_function(CUfunction* function, CUkernel) {
  ENTER("cuKernelGetFunction");
  *function = reinterpret_cast<CUfunction>(fake);
  return CUDA_SUCCESS;
}
CUresult func_set_attribute(CUfunction, CUfunction_attribute, int) {
  ENTER("cuFuncSetAttribute");
  return CUDA_SUCCESS;
}
CUresult launch_kernel_ex(const CUlaunchConfig*, CUfunction, void**, void**) {
  ENTER("cuLaunchKernelEx");
  return CUDA_SUCCESS;
}
CUresult graph_create(CUgraph* graph, unsigned) {
  ENTER("cuGraphCreate");
  *graph = reinterpret_cast<CUgraph>(fake);
  ++fake->num_graphs;
  return CUDA_SUCCESS;
}
CUresult graph_destroy(CUgraph) {
  --fake->num_graphs;
  ENTER("cuGraphDestroy");
  return CUDA_SUCCESS;
}
CUresult graph_add_node(CUgraphNode* node, CUgraph, const CUgraphNode*, const CUgraphEdgeData*,
                        size_t, CUgraphNodeParams*) {
  ENTER("cuGraphAddNode");
  *node = reinterpret_cast<CUgraphNode>(fake);
  return CUDA_SUCCESS;
}
CUresult graph_kernel_node_set_attribute(CUgraphNode, CUkernelNodeAttrID,
                                         const CUkernelNodeAttrValue*) {
  ENTER("cuGraphKernelNodeSetAttribute");
  return CUDA_SUCCESS;
}
CUresult graph_instantiate(CUgraphExec* graph, CUgraph, unsigned long long) {
  ENTER("cuGraphInstantiateWithFlags");
  *graph = reinterpret_cast<CUgraphExec>(fake);
  ++fake->num_graphs;
  return CUDA_SUCCESS;
}
CUresult graph_exec_destroy(CUgraphExec) {
  --fake->num_graphs;
  ENTER("cuGraphExecDestroy");
  return CUDA_SUCCESS;
}
CUresult graph_launch(CUgraphExec, CUstream) {
  ENTER("cuGraphLaunch");
  return CUDA_SUCCESS;
}
CUresult tensor_map_encode_tiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                 const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                 const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  ENTER("cuTensorMapEncodeTiled");
  return CUDA_SUCCESS;
}

CUresult find(const char* name, void** entry, int, cuuint64_t,
              CUdriverProcAddressQueryResult* result) {
  *entry = nullptr;
  if (result != nullptr) *result = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (fake->missing.contains(name)) return CUDA_ERROR_NOT_FOUND;
#define OFFER(member, function, version)          \
  if (std::strcmp(name, #function) == 0) {        \
    const decltype(&::function) offered = member; \
    *entry = reinterpret_cast<void*>(offered);    \
  }
  KVI_CUDA_DRIVER_CALLS(OFFER)
  return *entry != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // namespace

FakeDriver::FakeDriver() { fake = this; }
FakeDriver::~FakeDriver() { fake = nullptr; }

GetProcAddress FakeDriver::get_proc_address() { return find; }

CUresult FakeDriver::enter(const char* name) {
  calls.push_back(name);
  const bool is_chosen = num_calls++ == fail_at || fail_call == name;
  if (is_chosen && failed_call.empty()) failed_call = name;
  if (is_chosen && is_sticky(fault)) is_dead_ = true;
  return is_chosen || is_dead_ ? fault : CUDA_SUCCESS;
}

bool FakeDriver::takes(uint64_t num_bytes) {
  if (num_bytes > memory_bytes - allocated_bytes) return false;
  allocated_bytes += num_bytes;
  return true;
}

}  // namespace kvi::cuda
