#include "backend/cuda/dense_linear.h"

#include <algorithm>

#include "backend/cuda/cuda_matrix.h"
#include "base/error.h"
#include "cuda/unpack.h"

namespace kvi::cuda {
namespace {

constexpr int64_t kValuesPerAlignment = 8;  // of 16 bits

uint32_t groups_of(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}

Kernel unpack_kernel(Format format) {
  switch (format) {
#define KVI_UNPACK_OF(name) \
  case Format::name: return Kernel::unpack_##name;
    KVI_CUDA_PACKED_FORMATS(KVI_UNPACK_OF)
#undef KVI_UNPACK_OF
    default: break;
  }
  KVI_CHECK(!"the format is packed");
  return Kernel::unpack_q4_0;
}

bool is_half(Format format) { return format == Format::f16 || format == Format::bf16; }

}  // namespace

DenseLinear::Room::Room(const ExecutorShape& shape, Scratch& scratch) {
  if (shape.max_rows < kLeastTokens) return;
  workspace = scratch.take<std::byte>(CublasLt::kWorkspaceBytes);
  expanded = scratch.take<std::byte>(kExpandedBytes);
  gate = scratch.take<uint16_t>(int64_t{shape.max_rows} * shape.ffn_len);
}

DenseLinear::DenseLinear(std::shared_ptr<const Device> device, Launcher& launcher, const Room& room,
                         AlgorithmChoice choice)
    : launcher_(launcher),
      cublas_(room.workspace != nullptr ? open_cublas_lt(std::move(device), choice) : nullptr),
      room_(room) {}

bool DenseLinear::serves(const Matrix& weight, int num_tokens) const {
  const MatrixView view = view_of(&weight);
  const int least_tokens = view.is_packed != 0 ? kLeastTokensOfPacked : kLeastTokens;
  return cublas_ != nullptr && num_tokens >= least_tokens &&
         weight.cols() % kValuesPerAlignment == 0 && weight.rows() % kValuesPerAlignment == 0 &&
         (is_half(view.format) || view.is_packed != 0) &&
         static_cast<uint64_t>(weight.cols() * kTileRows * 2) <= kExpandedBytes;
}

bool DenseLinear::multiply(const Linear& linear, const uint16_t* x, int num_tokens, void* out,
                           StreamOutput output) {
  const Matrix& weight = *linear.weight;
  const MatrixView view = view_of(&weight);
  const bool is_float = output == StreamOutput::f32 || output == StreamOutput::add_f32;
  DenseProduct product = {.format = view.is_packed != 0 ? Format::f16 : view.format,
                          .out_format = Format::f32,
                          .adds = output == StreamOutput::add_f32,
                          .rows = weight.rows(),
                          .cols = weight.cols(),
                          .out_stride = weight.rows(),
                          .num_tokens = num_tokens};
  if (!is_float) product.out_format = output == StreamOutput::f16 ? Format::f16 : Format::bf16;
  if (view.is_packed == 0) {
    if (!cublas_->multiply(product, view.data, x, out, room_.workspace)) return false;
  } else {
    // Whole tiles, as many as fit.
    const int64_t fit = static_cast<int64_t>(kExpandedBytes) / (weight.cols() * 2) / kTileRows *
                        kTileRows;
    const auto tile_bytes = static_cast<int64_t>(packed_tile_bytes(weight.dtype(), weight.cols()));
    for (int64_t first = 0; first < weight.rows(); first += fit) {
      product.rows = std::min(fit, weight.rows() - first);
      const UnpackParams params = {.tiles = view.data + first / kTileRows * tile_bytes,
                                   .out = reinterpret_cast<uint16_t*>(room_.expanded),
                                   .num_rows = product.rows,
                                   .cols = weight.cols()};
      const int64_t units = (product.rows + kTileRows - 1) / kTileRows *
                            (weight.cols() / packed_unit(view.format).len);
      launcher_.launch(unpack_kernel(view.format),
                       {.x = groups_of(units * 32, kUnpackThreads), .num_threads = kUnpackThreads},
                       params);
      std::byte* part = static_cast<std::byte*>(out) + first * (is_float ? 4 : 2);
      // Only the first part may find nothing: the others differ in the number of rows alone.
      if (!cublas_->multiply(product, room_.expanded, x, part, room_.workspace)) {
        KVI_CHECK(first == 0);
        return false;
      }
    }
  }
  if (linear.bias == nullptr) return true;
  const AddBiasParams params = {.out = out,
                                .bias = values_of(linear.bias),
                                .rows = weight.rows(),
                                .num_tokens = num_tokens,
                                .format = product.out_format};
  launcher_.launch(
      Kernel::add_bias,
      {.x = groups_of(weight.rows() * num_tokens, kUnpackThreads), .num_threads = kUnpackThreads},
      params);
  return true;
}

bool DenseLinear::multiply_gated(const MlpWeights& weights, const uint16_t* x, int num_tokens,
                                 uint16_t* out) {
  const MatrixView view = view_of(weights.up.weight);
  const Format format = view.is_packed != 0 ? Format::f16 : view.format;
  const StreamOutput output = format == Format::f16 ? StreamOutput::f16 : StreamOutput::bf16;
  if (!multiply(weights.gate, x, num_tokens, room_.gate, output) ||
      !multiply(weights.up, x, num_tokens, out, output)) {
    return false;
  }
  const GateHalvesParams params = {.gate = room_.gate,
                                   .up = out,
                                   .count = num_tokens * weights.up.weight->rows(),
                                   .gelu = weights.activation == Activation::gelu_tanh,
                                   .format = format};
  launcher_.launch(
      Kernel::gate_halves,
      {.x = groups_of(params.count, kUnpackThreads * 8), .num_threads = kUnpackThreads}, params);
  return true;
}

}  // namespace kvi::cuda
