#include "backend/cuda/kernels.h"

#include <iterator>

#include "base/error.h"
#include "base/text.h"

// The images, as kernel_images.cc embeds them.
extern "C" {
#define KVI_CUDA_IMAGE(image) extern const unsigned char kvi_cuda_##image[];
KVI_CUDA_IMAGES(KVI_CUDA_IMAGE)
#undef KVI_CUDA_IMAGE
}

namespace kvi::cuda {
namespace {

struct Image {
  const char* name;
  const unsigned char* bytes;
};
constexpr Image kImages[] = {
#define KVI_CUDA_IMAGE(image) {#image, kvi_cuda_##image},
    KVI_CUDA_IMAGES(KVI_CUDA_IMAGE)
#undef KVI_CUDA_IMAGE
};

enum class ImageId : size_t {
#define KVI_CUDA_IMAGE(image) image,
  KVI_CUDA_IMAGES(KVI_CUDA_IMAGE)
#undef KVI_CUDA_IMAGE
};

struct Entry {
  ImageId image;
  const char* name;
};
constexpr Entry kEntries[] = {
#define KVI_CUDA_ENTRY(image, kernel) {ImageId::image, #kernel},
    KVI_CUDA_KERNELS(KVI_CUDA_ENTRY)
#undef KVI_CUDA_ENTRY
};

}  // namespace

const char* kernel_name(Kernel kernel) { return kEntries[static_cast<size_t>(kernel)].name; }

Kernels::Kernels(std::shared_ptr<const Device> device) : device_(std::move(device)) {
  const DriverApi& api = device_->api();
  libraries_.reserve(std::size(kImages));  // what is loaded is unloaded, whatever fails
  const CurrentContext current(*device_);
  try {
    for (const Image& image : kImages) {
      CUlibrary library = nullptr;
      device_->check(
          api.library_load_data(&library, image.bytes, nullptr, nullptr, 0, nullptr, nullptr, 0),
          concat("load the ", image.name, " kernels of this build on ", device_->info().name, " (",
                 device_->info().arch(), ")"));
      libraries_.push_back(library);
    }
    for (const Entry& entry : kEntries) {
      CUkernel kernel = nullptr;
      CUfunction function = nullptr;
      device_->check(
          api.library_get_kernel(&kernel, libraries_[static_cast<size_t>(entry.image)], entry.name),
          concat("find the kernel ", entry.name));
      device_->check(api.kernel_get_function(&function, kernel),
                     concat("load the kernel ", entry.name));
      functions_.push_back(function);
    }
  } catch (...) {
    unload();
    throw;
  }
}

Kernels::~Kernels() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().stream_synchronize(device_->stream());
  unload();
}

void Kernels::unload() noexcept {
  for (CUlibrary library : libraries_) device_->api().library_unload(library);
}

void Kernels::allow_shared_bytes(Kernel kernel, int num_bytes) const {
  const CurrentContext current(*device_);
  device_->check(
      device_->api().func_set_attribute(functions_[static_cast<size_t>(kernel)],
                                        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, num_bytes),
      concat("give shared memory to ", kernel_name(kernel)));
}

CUlaunchAttribute cluster_attribute(const Grid& grid) {
  CUlaunchAttribute attribute = {};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {.x = grid.cluster, .y = 1, .z = 1};
  return attribute;
}

void Kernels::launch_with(Kernel kernel, Grid grid, void* params) const {
  if (grid.x == 0 || grid.y == 0) return;
  const CurrentContext current(*device_);
  void* arguments[] = {params};
  CUlaunchAttribute attributes[2] = {};
  unsigned num_attributes = 0;
  if (grid.overlaps && device_->info().major >= kLeastOverlappingMajor) {
    CUlaunchAttribute& overlap = attributes[num_attributes++];
    overlap.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    overlap.value.programmaticStreamSerializationAllowed = 1;
  }
  if (grid.cluster > 1) attributes[num_attributes++] = cluster_attribute(grid);
  CUlaunchConfig config = {};
  config.gridDimX = grid.x;
  config.gridDimY = grid.y;
  config.gridDimZ = grid.z;
  config.blockDimX = grid.num_threads;
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = grid.shared_bytes;
  config.hStream = device_->stream();
  config.attrs = attributes;
  config.numAttrs = num_attributes;
  const CUresult result = device_->api().launch_kernel_ex(&config, function(kernel), arguments,
                                                          nullptr);
  if (result != CUDA_SUCCESS) device_->check(result, concat("launch ", kernel_name(kernel)));
}

}  // namespace kvi::cuda
