#include "backend/cuda/cuda_backend.h"

#include <bit>

#include "backend/cuda/backend_on_driver.h"
#include "backend/cuda/cuda_executor.h"
#include "backend/cuda/cuda_matrix.h"
#include "backend/cuda/device_range.h"
#include "backend/cuda/fast_executor.h"
#include "backend/cuda/page_streams.h"
#include "backend/cuda/pinned_range.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/page_conversion.h"

namespace kvi::cuda {
namespace {

constexpr int kLeastPageLen = 16, kMostPageLen = 256;

CUdeviceptr address_of(const std::byte* page) { return reinterpret_cast<CUdeviceptr>(page); }

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(std::shared_ptr<const Device> device)
      : device_(std::move(device)),
        kernels_(std::make_shared<Kernels>(device_)),
        page_streams_(device_) {
    info_.name = "cuda";
    info_.device_name = device_->info().arch();
    // Weights of every type meet f32 activations; sums are in f32.
    info_.numerics_id = "cuda-1/f32acc";
    info_.memory_bytes = device_->info().memory_bytes;
    info_.pages_are_host_memory = false;
  }

  const BackendInfo& info() const override { return info_; }

  std::unique_ptr<Matrix> load_matrix(const MatrixSource& source) override {
    return std::make_unique<CudaMatrix>(device_, source);
  }
  std::unique_ptr<Vector> load_vector(std::span<const float> values) override {
    return std::make_unique<CudaVector>(device_, values);
  }
  uint64_t matrix_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return CudaMatrix::bytes(dtype, rows, cols);
  }
  uint64_t load_scratch_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return CudaMatrix::load_scratch_bytes(dtype, rows, cols);
  }

  PageLayout page_layout(const std::vector<KvLayerShape>& layers, int page_len) const override {
    if (page_len < kLeastPageLen || page_len > kMostPageLen ||
        !std::has_single_bit(static_cast<unsigned>(page_len))) {
      throw Error(Status::INVALID_ARGUMENT, concat("a KV page of ", page_len,
                                                   " tokens: page_len must be a power of two from ",
                                                   kLeastPageLen, " to ", kMostPageLen));
    }
    for (const KvLayerShape& shape : layers) {
      const DType dtype = shape.key_dtype;
      if (dtype != shape.value_dtype || shape.key_dim != shape.value_dim ||
          shape.key_dim > kMostHeadDim ||
          (dtype != DType::F16 && dtype != DType::BF16 && dtype != DType::F32)) {
        throw Error(Status::UNSUPPORTED,
                    concat("KV cache of layer ", shape.layer, ": ", dtype_name(dtype), " keys of ",
                           shape.key_dim, " and ", dtype_name(shape.value_dtype), " values of ",
                           shape.value_dim, "; the CUDA backend needs the same size, at most ",
                           kMostHeadDim, ", and type for both, of F16, BF16, F32"));
      }
    }
    return canonical_layout(layers, page_len);
  }

  std::unique_ptr<MemoryRange> reserve_pages(uint64_t num_bytes) override {
    return std::make_unique<DeviceRange>(device_, num_bytes);
  }
  std::unique_ptr<MemoryRange> reserve_host_pages(uint64_t num_bytes) override {
    return std::make_unique<PinnedRange>(device_, num_bytes);
  }
  void zero_page(std::byte* page, uint64_t num_bytes) noexcept override {
    do_or_lose([&](const DriverApi& api) {
      return api.memset_d8_async(address_of(page), 0, num_bytes, device_->stream());
    });
  }
  void copy_page(std::byte* to, const std::byte* from, uint64_t num_bytes) noexcept override {
    do_or_lose([&](const DriverApi& api) {
      return api.memcpy_d_to_d_async(address_of(to), address_of(from), num_bytes,
                                     device_->stream());
    });
  }
  void transfer(std::span<const PageTransfer> transfers) override {
    page_streams_.transfer(transfers);
  }

  void export_page(const PageLayout& layout, const std::byte* page, const PageLayout& canonical,
                   std::span<std::byte> bytes, int num_slots) override {
    std::vector<std::byte> own(layout.page_bytes);
    read_page(page, own);
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    convert_page(layout, own, canonical, bytes, num_slots);
  }
  void import_page(const PageLayout& layout, std::byte* page, const PageLayout& canonical,
                   std::span<const std::byte> bytes, int num_slots) override {
    std::vector<std::byte> own(layout.page_bytes);
    read_page(page, own);  // what is not imported stays
    convert_page(canonical, bytes, layout, own, num_slots);
    write_page(page, own);
  }

  std::unique_ptr<Executor> make_executor(const ExecutorShape& shape,
                                          const ExecutorOptions& options) override {
    if (options.precision == Precision::int8_activations) {
      return std::make_unique<FastExecutor>(device_, kernels_, shape);
    }
    return std::make_unique<CudaExecutor>(device_, kernels_, shape);
  }
  uint64_t scratch_bytes(const ExecutorShape& shape,
                         const ExecutorOptions& options) const override {
    if (options.precision == Precision::int8_activations) {
      return FastExecutor::scratch_bytes(shape);
    }
    return CudaExecutor::scratch_bytes(shape);
  }

 private:
  template <typename Call>
  void do_or_lose(const Call& call) noexcept {
    try {
      const CurrentContext current(*device_);
      device_->check(call(device_->api()), "change a page");
    } catch (...) {
      device_->lose();
    }
  }

  const std::shared_ptr<const Device> device_;
  const std::shared_ptr<const Kernels> kernels_;
  PageStreams page_streams_;
  BackendInfo info_;
};

}  // namespace

bool is_built() { return true; }

std::vector<DeviceDescription> devices(std::string* why_none) {
  std::vector<DeviceDescription> result;
  try {
    for (const DeviceInfo& info : list_devices(*open_driver())) {
      result.push_back({info.name, info.arch(), info.memory_bytes, info.unsupported_reason});
    }
    if (result.empty() && why_none != nullptr) *why_none = "the CUDA driver shows no GPU";
  } catch (const Error& error) {
    result.clear();
    if (why_none != nullptr) *why_none = error.message();
  }
  return result;
}

std::unique_ptr<Backend> make_cuda_backend(std::shared_ptr<const Driver> driver, int index) {
  return std::make_unique<CudaBackend>(std::make_shared<Device>(std::move(driver), index));
}

std::unique_ptr<Backend> make_cuda_backend(int index) {
  return make_cuda_backend(open_driver(), index);
}

}  // namespace kvi::cuda
