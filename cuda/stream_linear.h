// Parameters of the streamed matrix product (stream_linear.cu). Plain C++: both sides include it.
#pragma once

#include <cstdint>

#include "packed.h"

namespace kvi::cuda {

constexpr int kMostStreamed = 3;  // weights side by side

enum class StreamOutput : int {
  f32,
  f16,  // saturated
  bf16,
  add_f32,  // out += the product
};
enum class StreamGate : int { none, silu, gelu_tanh };

struct StreamedWeight {
  const uint8_t* data;
  const float* bias;  // [rows], or nullptr
  void* out;          // [num_tokens, rows]
  int64_t rows;
};

// out_i = x * weights_i^T + bias_i. gate: instead out_0 = activation(gate) * up of weights 0 (gate) and 1 (up),
// which have the same shape.
struct StreamParams {
  StreamedWeight weights[kMostStreamed];
  int32_t num_weights;
  int32_t num_tokens;
  int32_t num_tile_groups;  // tiles of all weights / the kernel's tiles at once, rounded up
  const void* x;            // [num_tokens, cols], 16-bit: as the weights, f16 for packed ones
  int64_t row_bytes;        // of weights that are not packed
  int64_t cols;             // a multiple of 64, or of the packed unit's length
  StreamOutput output;
  StreamGate gate;
};

// How a kernel's thread block is shaped: stream_linear.cuh for up to two tiles of 8 tokens, batch_linear.cuh beyond.
struct StreamKernel {
  int token_tiles;  // of 8 tokens
  int col_warps, row_warps, row_tiles, depth;

  constexpr bool is_batch() const { return token_tiles > 2; }
  constexpr int tiles() const { return row_warps * row_tiles; }
  constexpr int threads() const { return 32 * col_warps * row_warps; }
};

constexpr bool is_plain(Format format) { return format == Format::f16 || format == Format::bf16; }
constexpr bool is_streamed(Format format) {
  return is_plain(format) || packed_unit(format).len > 0;
}
constexpr int streamed_unit_len(Format format) {
  return is_plain(format) ? 64 : packed_unit(format).len;
}
constexpr int streamed_unit_bytes(Format format) {
  return is_plain(format) ? 2048 : packed_unit(format).bytes;
}

// Chosen by timing on an H100, in shapes of Llama 3 8B and 1B. An even number of tiles: gate and up meet in one block.
constexpr StreamKernel stream_kernel(Format format, int token_tiles) {
  const bool is_long = packed_unit(format).len == 256;
  if (token_tiles > 2) return {token_tiles, 1, 8, is_plain(format) ? 1 : 2, is_long ? 2 : 4};
  if (is_plain(format)) return {token_tiles, 16, 1, 2, 2};
  if (is_long) return {token_tiles, 8, 1, 2, 2};
  return {token_tiles, 16, 1, 2, 4};
}

constexpr int stream_shared_bytes(Format format, const StreamKernel& kernel) {
  const int slot = streamed_unit_bytes(format), pitch = kernel.tiles() * kTileRows + 4;
  const int tokens = 8 * kernel.token_tiles;
  if (!kernel.is_batch()) {
    return kernel.col_warps * tokens * pitch * 4 +
           kernel.threads() / 32 * kernel.depth * kernel.row_tiles * slot;
  }
  const int stage = kernel.tiles() * slot + tokens * streamed_unit_len(format) * 2;
  const int fetched = kernel.depth * stage, sums = tokens * pitch * 4;
  return fetched > sums ? fetched : sums;
}

}  // namespace kvi::cuda
