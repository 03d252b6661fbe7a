#include "backend/cuda/fast_linear.h"

#include <algorithm>
#include <array>

#include "backend/cuda/cuda_matrix.h"
#include "base/error.h"
#include "cuda/half_rows.h"
#include "cuda/linear.h"

namespace kvi::cuda {
namespace {

constexpr int kTokenTiles[] = {1, 2, 4, 8};
constexpr int kMostRanks = 8;   // of a cluster
constexpr int kPlainRows = 64;  // at a time

int64_t divided_up(int64_t count, int64_t size) { return (count + size - 1) / size; }
uint32_t groups_of(int64_t count, int64_t size) {
  return static_cast<uint32_t>(divided_up(count, size));
}

// X(format) for those that are streamed.
#define KVI_STREAMED_FORMATS(X) X(f16) X(bf16) KVI_CUDA_PACKED_FORMATS(X)

Kernel kernel_of(Format format, int token_tiles) {
  switch (format) {
#define KVI_STREAM_OF(name)                               \
  case Format::name:                                      \
    return token_tiles == 1   ? Kernel::stream_##name##_1 \
           : token_tiles == 2 ? Kernel::stream_##name##_2 \
           : token_tiles == 4 ? Kernel::stream_##name##_4 \
                              : Kernel::stream_##name##_8;
    KVI_STREAMED_FORMATS(KVI_STREAM_OF)
#undef KVI_STREAM_OF
    default: break;
  }
  KVI_CHECK(!"the format is streamed");
  return Kernel::stream_f16_1;
}

Kernel plain_kernel_of(Format format) {
  switch (format) {
#define KVI_LINEAR_OF(name) \
  case Format::name: return Kernel::linear_##name;
    KVI_CUDA_FORMATS(KVI_LINEAR_OF)
#undef KVI_LINEAR_OF
  }
  return Kernel::linear_f32;
}

int token_tiles_for(int num_rows) {
  for (int tiles : kTokenTiles) {
    if (num_rows <= 8 * tiles) return tiles;
  }
  return 8;
}

}  // namespace

FastLinear::Room::Room(const ExecutorShape& shape, Scratch& scratch) : dense(shape, scratch) {
  const int64_t rows = std::min(shape.max_rows, kPlainRows);
  widened = scratch.take<float>(rows * std::max({shape.embedding_len, shape.q_len, shape.ffn_len}));
  gate = scratch.take<float>(rows * shape.ffn_len);
  up = scratch.take<float>(rows * shape.ffn_len);
}

FastLinear::FastLinear(std::shared_ptr<const Device> device, Launcher& launcher, const Room& room)
    : device_(std::move(device)),
      launcher_(launcher),
      room_(room),
      dense_(device_, launcher, room.dense) {
  const auto allow = [&](Format format) {
    for (int tiles : kTokenTiles) {
      launcher.kernels().allow_shared_bytes(
          kernel_of(format, tiles), stream_shared_bytes(format, stream_kernel(format, tiles)));
    }
  };
#define KVI_ALLOW(name) allow(Format::name);
  KVI_STREAMED_FORMATS(KVI_ALLOW)
#undef KVI_ALLOW
}

Format FastLinear::input_format(const Matrix& weight) {
  return view_of(&weight).format == Format::bf16 ? Format::bf16 : Format::f16;
}

bool FastLinear::is_streamed(const Matrix& weight) {
  const MatrixView view = view_of(&weight);
  if (!kvi::cuda::is_streamed(view.format)) return false;
  return is_plain(view.format) ? weight.cols() % streamed_unit_len(view.format) == 0
                               : view.is_packed != 0;
}

void FastLinear::multiply(std::span<const Product> products, const uint16_t* x, int num_rows,
                          StreamOutput output) {
  const Product *first = products.data(), *all_end = first + products.size();
  while (first != all_end) {
    const Matrix& weight = *first->linear->weight;
    if (!launcher_.is_noting() && dense_.serves(weight, num_rows) &&
        dense_.multiply(*first->linear, x, num_rows, first->out, output)) {
      ++first;
      continue;
    }
    if (!is_streamed(weight)) {
      multiply_plainly(*first++, x, num_rows, output);
      continue;
    }
    const Product* end = first + 1;
    while (end != all_end && end - first < kMostStreamed && is_streamed(*end->linear->weight) &&
           end->linear->weight->dtype() == weight.dtype() &&
           end->linear->weight->cols() == weight.cols()) {
      ++end;
    }
    stream({first, end}, x, num_rows, output, StreamGate::none);
    first = end;
  }
}

void FastLinear::multiply_gated(const MlpWeights& weights, const uint16_t* x, int num_rows,
                                uint16_t* out, Format out_format) {
  const Matrix* gates = weights.gate.weight;
  const Matrix& ups = *weights.up.weight;
  const bool is_gelu = weights.activation == Activation::gelu_tanh;
  if (!launcher_.is_noting() && gates != nullptr && gates->rows() == ups.rows() &&
      input_format(*gates) == out_format && input_format(ups) == out_format &&
      dense_.serves(*gates, num_rows) && dense_.serves(ups, num_rows) &&
      dense_.multiply_gated(weights, x, num_rows, out)) {
    return;
  }
  if (gates != nullptr && is_streamed(*gates) && is_streamed(ups) &&
      gates->dtype() == ups.dtype() && gates->rows() == ups.rows()) {
    return stream(std::array<Product, 2>{{{&weights.gate, out}, {&weights.up, out}}}, x, num_rows,
                  out_format == Format::f16 ? StreamOutput::f16 : StreamOutput::bf16,
                  is_gelu ? StreamGate::gelu_tanh : StreamGate::silu);
  }
  for (int first = 0; first < num_rows; first += kPlainRows) {
    const int count = std::min(num_rows - first, kPlainRows);
    const uint16_t* from = x + first * ups.cols();
    multiply_one(weights.up, from, count, room_.up);
    if (gates != nullptr) multiply_one(weights.gate, from, count, room_.gate);
    const HalfActivateParams params = {.gate = gates != nullptr ? room_.gate : nullptr,
                                       .up = room_.up,
                                       .out = out + first * ups.rows(),
                                       .count = count * ups.rows(),
                                       .gelu = is_gelu,
                                       .format = out_format};
    launcher_.launch(
        Kernel::half_activate,
        {.x = groups_of(params.count, kHalfThreads), .num_threads = kHalfThreads, .overlaps = true},
        params);
  }
}

void FastLinear::stream(std::span<const Product> products, const uint16_t* x, int num_rows,
                        StreamOutput output, StreamGate gate) {
  const Matrix& weight = *products[0].linear->weight;
  const MatrixView view = view_of(&weight);
  const int token_tiles = token_tiles_for(num_rows);
  const StreamKernel kernel = stream_kernel(view.format, token_tiles);
  StreamParams params = {};
  int64_t num_tiles = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const Linear& linear = *products[i].linear;
    params.weights[i] = {view_of(linear.weight).data, values_of(linear.bias), products[i].out,
                         linear.weight->rows()};
    num_tiles += divided_up(linear.weight->rows(), kTileRows);
  }
  params.num_weights = static_cast<int32_t>(products.size());
  params.num_tokens = num_rows;
  params.num_tile_groups = static_cast<int32_t>(divided_up(num_tiles, kernel.tiles()));
  params.x = x;
  params.row_bytes = view.row_bytes;
  params.cols = weight.cols();
  params.output = output;
  params.gate = gate;
  const uint32_t groups = static_cast<uint32_t>(params.num_tile_groups);
  const uint32_t token_groups = groups_of(num_rows, 8 * token_tiles);
  const uint32_t sms = static_cast<uint32_t>(device_->info().num_sms);
  Grid grid = {.num_threads = static_cast<uint32_t>(kernel.threads()),
               .shared_bytes = static_cast<uint32_t>(stream_shared_bytes(view.format, kernel)),
               .overlaps = true};
  if (kernel.is_batch()) {
    // As many blocks as run at once, or more, share the columns.
    uint32_t ranks = 1;
    if (device_->info().major >= kLeastOverlappingMajor) {
      while (ranks < kMostRanks && ranks * groups * token_groups < sms) ranks *= 2;
    }
    grid.x = grid.cluster = ranks;
    grid.y = groups;
    grid.z = token_groups;
  } else {
    grid.x = std::min(groups, sms);
    grid.y = token_groups;
  }
  launcher_.launch(kernel_of(view.format, token_tiles), grid, params);
}

void FastLinear::multiply_plainly(const Product& product, const uint16_t* x, int num_rows,
                                  StreamOutput output) {
  const Linear& linear = *product.linear;
  KVI_CHECK(output == StreamOutput::f32 || output == StreamOutput::add_f32);
  const int64_t rows = linear.weight->rows(), cols = linear.weight->cols();
  for (int first = 0; first < num_rows; first += kPlainRows) {
    const int count = std::min(num_rows - first, kPlainRows);
    const WidenParams widen = {.x = x + first * cols,
                               .out = room_.widened,
                               .count = count * cols,
                               .format = input_format(*linear.weight)};
    launcher_.launch(
        Kernel::widen,
        {.x = groups_of(widen.count, kHalfThreads), .num_threads = kHalfThreads, .overlaps = true},
        widen);
    const LinearParams params = {.weight = view_of(linear.weight),
                                 .bias = values_of(linear.bias),
                                 .x = room_.widened,
                                 .out = static_cast<float*>(product.out) + first * rows,
                                 .rows = rows,
                                 .cols = cols,
                                 .num_tokens = count,
                                 .adds = output == StreamOutput::add_f32};
    launcher_.launch(plain_kernel_of(params.weight.format),
                     {.x = groups_of(rows, kLinearRows),
                      .y = groups_of(count, kLinearTokens),
                      .num_threads = kLinearThreads},
                     params);
  }
}

}  // namespace kvi::cuda
