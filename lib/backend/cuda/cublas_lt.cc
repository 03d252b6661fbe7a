#include "backend/cuda/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "backend/cuda/device_memory.h"
#include "base/error.h"

namespace kvi::cuda {
namespace {

constexpr const char* kLibraries[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
constexpr int kMostCandidates = 8;
constexpr int kTimedRuns = 3;
constexpr uint32_t kAlignment = 16;                   // bytes, of every pointer
constexpr uint64_t kCacheBytes = uint64_t{64} << 20;  // written to clear the L2 cache

// X(member, function)
#define KVI_CUBLAS_LT_CALLS(X)                            \
  X(create, cublasLtCreate)                               \
  X(destroy, cublasLtDestroy)                             \
  X(matmul, cublasLtMatmul)                               \
  X(desc_create, cublasLtMatmulDescCreate)                \
  X(desc_destroy, cublasLtMatmulDescDestroy)              \
  X(desc_set, cublasLtMatmulDescSetAttribute)             \
  X(layout_create, cublasLtMatrixLayoutCreate)            \
  X(layout_destroy, cublasLtMatrixLayoutDestroy)          \
  X(preference_create, cublasLtMatmulPreferenceCreate)    \
  X(preference_destroy, cublasLtMatmulPreferenceDestroy)  \
  X(preference_set, cublasLtMatmulPreferenceSetAttribute) \
  X(heuristic, cublasLtMatmulAlgoGetHeuristic)            \
  X(algo_check, cublasLtMatmulAlgoCheck)

struct Api {
#define KVI_CUBLAS_LT_MEMBER(member, function) decltype(&::function) member = nullptr;
  KVI_CUBLAS_LT_CALLS(KVI_CUBLAS_LT_MEMBER)
#undef KVI_CUBLAS_LT_MEMBER
};

// Never closed: it has threads and exit handlers of its own.
std::optional<Api> find_api() {
  for (const char* name : kLibraries) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    Api api;
    bool is_whole = true;
#define KVI_CUBLAS_LT_FIND(member, function)                                       \
  api.member = reinterpret_cast<decltype(&::function)>(dlsym(library, #function)); \
  is_whole = is_whole && api.member != nullptr;
    KVI_CUBLAS_LT_CALLS(KVI_CUBLAS_LT_FIND)
#undef KVI_CUBLAS_LT_FIND
    if (is_whole) return api;
  }
  return std::nullopt;
}

cudaDataType_t type_of(Format format) {
  switch (format) {
    case Format::f16: return CUDA_R_16F;
    case Format::bf16: return CUDA_R_16BF;
    default: return CUDA_R_32F;
  }
}

bool is_done(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }

// cuBLASLt sees matrices by columns: the product is out^T [rows, tokens] = (weight^T)^T * x^T. Descriptors of one call.
class Descriptors {
 public:
  Descriptors(const Api& api, const DenseProduct& product) : api_(api) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cudaDataType_t type = type_of(product.format);
    const auto rows = static_cast<uint64_t>(product.rows);
    const auto cols = static_cast<uint64_t>(product.cols);
    const auto tokens = static_cast<uint64_t>(product.num_tokens);
    is_made_ = is_done(api.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
               is_done(api.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                    sizeof transposed)) &&
               is_done(api.layout_create(&weight, type, cols, rows, product.cols)) &&
               is_done(api.layout_create(&x, type, cols, tokens, product.cols)) &&
               is_done(api.layout_create(&out, type_of(product.out_format), rows, tokens,
                                         product.out_stride));
  }
  ~Descriptors() {
    if (out != nullptr) api_.layout_destroy(out);
    if (x != nullptr) api_.layout_destroy(x);
    if (weight != nullptr) api_.layout_destroy(weight);
    if (desc != nullptr) api_.desc_destroy(desc);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  bool is_made() const { return is_made_; }

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;

 private:
  const Api& api_;
  bool is_made_ = false;
};

class OpenCublasLt final : public CublasLt {
 public:
  OpenCublasLt(std::shared_ptr<const Device> device, const Api& api, cublasLtHandle_t handle,
               cublasLtMatmulPreference_t preference, AlgorithmChoice choice)
      : device_(std::move(device)),
        api_(api),
        handle_(handle),
        preference_(preference),
        choice_(choice) {}
  ~OpenCublasLt() override {
    const CurrentContext current(*device_, CurrentContext::ForRelease());
    api_.preference_destroy(preference_);
    api_.destroy(handle_);
  }

  bool multiply(const DenseProduct& product, const void* weight, const void* x, void* out,
                std::byte* workspace) override {
    const CurrentContext current(*device_);
    const Call call(api_, product, weight, x, out, workspace);
    if (!call.descriptors.is_made()) return false;
    const auto bucket = std::bit_ceil(static_cast<unsigned>(product.num_tokens));
    const Key key = {product.format, product.out_format, product.adds, product.rows,
                     product.cols,   product.out_stride, bucket};
    if (const auto known = chosen_.find(key); known != chosen_.end() && fits(call, known->second)) {
      return run(call, known->second);
    }
    std::vector<cublasLtMatmulAlgo_t> candidates = candidates_for(call);
    if (candidates.empty()) return false;
    const bool is_timed = choice_ == AlgorithmChoice::timed && candidates.size() > 1;
    const size_t best = is_timed ? fastest(call, candidates) : 0;
    chosen_[key] = candidates[best];
    return run(call, candidates[best]);
  }

 private:
  using Key = std::tuple<Format, Format, bool, int64_t, int64_t, int64_t, unsigned>;
  struct Call {
    Call(const Api& api, const DenseProduct& product, const void* weight, const void* x, void* out,
         std::byte* workspace)
        : product(product),
          descriptors(api, product),
          weight(weight),
          x(x),
          out(out),
          workspace(workspace) {}
    const DenseProduct& product;
    const Descriptors descriptors;
    const void* weight;
    const void* x;
    void* out;
    std::byte* workspace;
  };

  bool fits(const Call& call, const cublasLtMatmulAlgo_t& algo) const {
    const Descriptors& d = call.descriptors;
    cublasLtMatmulHeuristicResult_t result = {};
    return is_done(api_.algo_check(handle_, d.desc, d.weight, d.x, d.out, d.out, &algo, &result)) &&
           is_done(result.state) && result.workspaceSize <= kWorkspaceBytes;
  }

  std::vector<cublasLtMatmulAlgo_t> candidates_for(const Call& call) const {
    const Descriptors& d = call.descriptors;
    cublasLtMatmulHeuristicResult_t results[kMostCandidates] = {};
    int count = 0;
    std::vector<cublasLtMatmulAlgo_t> candidates;
    if (!is_done(api_.heuristic(handle_, d.desc, d.weight, d.x, d.out, d.out, preference_,
                                kMostCandidates, results, &count))) {
      return candidates;
    }
    for (int i = 0; i < count; ++i) {
      if (is_done(results[i].state)) candidates.push_back(results[i].algo);
    }
    return candidates;
  }

  bool run(const Call& call, const cublasLtMatmulAlgo_t& algo) const {
    const Descriptors& d = call.descriptors;
    const float alpha = 1, beta = call.product.adds ? 1 : 0;
    return is_done(api_.matmul(handle_, d.desc, &alpha, call.weight, d.weight, call.x, d.x, &beta,
                               call.out, d.out, call.out, d.out, &algo, call.workspace,
                               kWorkspaceBytes, reinterpret_cast<cudaStream_t>(device_->stream())));
  }

  // Runs each a few times, every time with other memory in the cache. What was in out is put back. Where there is no
  // memory for that, the first.
  size_t fastest(const Call& call, const std::vector<cublasLtMatmulAlgo_t>& candidates) const {
    const DenseProduct& product = call.product;
    const uint64_t value_bytes = product.out_format == Format::f32 ? 4 : 2;
    const uint64_t out_bytes = (static_cast<uint64_t>(product.out_stride) *
                                    static_cast<uint64_t>(product.num_tokens - 1) +
                                static_cast<uint64_t>(product.rows)) *
                               value_bytes;
    std::optional<DeviceBuffer> memory;
    try {
      memory.emplace(device_, kCacheBytes + (product.adds ? out_bytes : 0), "timing products");
    } catch (const Error& error) {
      if (error.status() != Status::OUT_OF_MEMORY) throw;
      return 0;
    }
    const DriverApi& api = device_->api();
    const auto out = reinterpret_cast<CUdeviceptr>(call.out);
    const auto cache = reinterpret_cast<CUdeviceptr>(memory->data()), saved = cache + kCacheBytes;
    const auto copy = [&](CUdeviceptr to, CUdeviceptr from) {
      if (!product.adds) return;
      device_->check(api.memcpy_d_to_d_async(to, from, out_bytes, device_->stream()),
                     "keep a result");
    };
    copy(saved, out);
    Event begin(*device_), end(*device_);
    size_t best = 0;
    float least = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      float time = 0;
      bool runs = true;
      for (int run_index = 0; run_index < kTimedRuns && runs; ++run_index) {
        device_->check(api.memset_d8_async(cache, 0, kCacheBytes, device_->stream()),
                       "clear the cache");
        begin.record();
        runs = run(call, candidates[i]);
        end.record();
        device_->check(api.stream_synchronize(device_->stream()), "time a product");
        const float elapsed = end.milliseconds_since(begin);
        time = run_index == 0 ? elapsed : std::min(time, elapsed);
      }
      if (runs && (least == 0 || time < least)) {
        best = i;
        least = time;
      }
    }
    copy(out, saved);
    device_->check(api.stream_synchronize(device_->stream()), "put a result back");
    return best;
  }

  class Event {
   public:
    explicit Event(const Device& device) : device_(device) {
      device.check(device.api().event_create(&event_, CU_EVENT_DEFAULT), "make an event");
    }
    ~Event() { device_.api().event_destroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    void record() {
      device_.check(device_.api().event_record(event_, device_.stream()), "record an event");
    }
    float milliseconds_since(const Event& begin) const {
      float milliseconds = 0;
      device_.check(device_.api().event_elapsed_time(&milliseconds, begin.event_, event_),
                    "read a time");
      return milliseconds;
    }

   private:
    const Device& device_;
    CUevent event_ = nullptr;
  };

  const std::shared_ptr<const Device> device_;
  const Api api_;
  const cublasLtHandle_t handle_;
  const cublasLtMatmulPreference_t preference_;
  const AlgorithmChoice choice_;
  std::map<Key, cublasLtMatmulAlgo_t> chosen_;
};

}  // namespace

std::unique_ptr<CublasLt> open_cublas_lt(std::shared_ptr<const Device> device,
                                         AlgorithmChoice choice) {
  if (!device->driver().is_systems) return nullptr;
  static const std::optional<Api> api = find_api();
  if (!api) return nullptr;
  const CurrentContext current(*device);
  cublasLtHandle_t handle = nullptr;
  if (!is_done(api->create(&handle))) return nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  const uint64_t workspace = CublasLt::kWorkspaceBytes;
  bool is_set = is_done(api->preference_create(&preference)) &&
                is_done(api->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                            &workspace, sizeof workspace));
  for (const auto pointer :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    is_set = is_set &&
             is_done(api->preference_set(preference, pointer, &kAlignment, sizeof kAlignment));
  }
  if (!is_set) {
    if (preference != nullptr) api->preference_destroy(preference);
    api->destroy(handle);
    return nullptr;
  }
  return std::make_unique<OpenCublasLt>(std::move(device), *api, handle, preference, choice);
}

}  // namespace kvi::cuda
