#include "backend/cpu/cpu_backend.h"

#include <bit>
#include <cstring>

#include "backend/cpu/cpu_executor.h"
#include "backend/cpu/cpu_vector.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/vector_ops.h"
#include "base/error.h"
#include "base/os_cpu.h"
#include "base/text.h"
#include "tensor/page_conversion.h"

namespace kvi::cpu {
namespace {

constexpr int kMaxPageLen = 256;

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Isa isa) : isa_(isa) {
    info_.name = "cpu";
    info_.device_name = isa_name(isa);
    // No instruction set in it: all of them give the same bits.
    info_.numerics_id = "cpu-1";
    info_.memory_bytes = total_memory_bytes();
  }

  const BackendInfo& info() const override { return info_; }

  std::unique_ptr<Matrix> load_matrix(const MatrixSource& source) override {
    return pack_matrix(source, weight_memory_);
  }
  std::unique_ptr<Vector> load_vector(std::span<const float> values) override {
    return std::make_unique<CpuVector>(values);
  }
  uint64_t matrix_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return packed_bytes(dtype, rows, cols);
  }
  uint64_t load_scratch_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return packing_scratch_bytes(dtype, rows, cols);
  }

  PageLayout page_layout(const std::vector<KvLayerShape>& layers, int page_len) const override {
    if (page_len < kKeyTile || page_len > kMaxPageLen ||
        !std::has_single_bit(static_cast<unsigned>(page_len))) {
      throw Error(Status::INVALID_ARGUMENT, concat("a KV page of ", page_len,
                                                   " tokens: page_len must be a power of two from ",
                                                   kKeyTile, " to ", kMaxPageLen));
    }
    for (const KvLayerShape& shape : layers) {
      const DType dtype = shape.key_dtype;
      if (dtype != shape.value_dtype || shape.key_dim != shape.value_dim ||
          (dtype != DType::F16 && dtype != DType::BF16 && dtype != DType::F32)) {
        throw Error(
            Status::UNSUPPORTED,
            concat("KV cache of layer ", shape.layer, ": ", dtype_name(dtype), " keys of ",
                   shape.key_dim, " and ", dtype_name(shape.value_dtype), " values of ",
                   shape.value_dim,
                   "; the CPU backend needs the same size and type for both, of F16, BF16, F32"));
      }
    }
    return keys_by_dim_layout(layers, page_len);
  }
  std::unique_ptr<MemoryRange> reserve_pages(uint64_t num_bytes) override {
    return reserve_host_memory(num_bytes);
  }
  std::unique_ptr<MemoryRange> reserve_host_pages(uint64_t num_bytes) override {
    return reserve_host_memory(num_bytes);
  }
  void zero_page(std::byte* page, uint64_t num_bytes) noexcept override {
    std::memset(page, 0, num_bytes);
  }
  void copy_page(std::byte* to, const std::byte* from, uint64_t num_bytes) noexcept override {
    std::memcpy(to, from, num_bytes);
  }
  void transfer(std::span<const PageTransfer> transfers) override {
    for (const PageTransfer& one : transfers) {
      std::memcpy(one.to_host ? one.host : one.page, one.to_host ? one.page : one.host,
                  one.num_bytes);
    }
  }
  void export_page(const PageLayout& layout, const std::byte* page, const PageLayout& canonical,
                   std::span<std::byte> bytes, int num_slots) override {
    std::memset(bytes.data(), 0, bytes.size());
    convert_page(layout, {page, layout.page_bytes}, canonical, bytes, num_slots);
  }
  void import_page(const PageLayout& layout, std::byte* page, const PageLayout& canonical,
                   std::span<const std::byte> bytes, int num_slots) override {
    convert_page(canonical, bytes, layout, {page, layout.page_bytes}, num_slots);
  }

  std::unique_ptr<Executor> make_executor(const ExecutorShape& shape,
                                          const ExecutorOptions& options) override {
    return std::make_unique<CpuExecutor>(isa_, vector_ops(isa_), shape, options);
  }
  uint64_t scratch_bytes(const ExecutorShape& shape,
                         const ExecutorOptions& options) const override {
    return CpuExecutor::scratch_bytes(shape, options);
  }

 private:
  Isa isa_;
  WeightMemory weight_memory_;
  BackendInfo info_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(Isa isa) {
  const std::string reason = why_unsupported(isa);
  if (!reason.empty()) {
    throw Error(Status::UNSUPPORTED,
                concat("the CPU backend cannot use ", isa_name(isa), " here: ", reason));
  }
  return std::make_unique<CpuBackend>(isa);
}

}  // namespace kvi::cpu
