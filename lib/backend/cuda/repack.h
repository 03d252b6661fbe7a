// From blocks as a file stores them to the layout that the GPU's fast matrix products read (cuda/packed.h).
//
// Nothing is rounded: the packed weights are bitwise those of the blocks.
//
// Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/packed.h"
#include "tensor/dtype.h"

namespace kvi::cuda {

inline Format format_of(DType dtype) { return static_cast<Format>(dtype); }
static_assert(static_cast<int>(Format::q6_k) == static_cast<int>(DType::Q6_K) &&
              static_cast<int>(Format::bf16) == static_cast<int>(DType::BF16));

// Whether a matrix of such rows is packed; else it stays as stored.
bool is_packed_type(DType dtype, int64_t cols);

// Of a tile of kTileRows rows.
uint64_t packed_tile_bytes(DType dtype, int64_t cols);

// Packs one tile. rows holds num_rows rows as stored, one after another; those that a last tile lacks are zeros.
// Requires: is_packed_type, 0 < num_rows <= kTileRows, tile of packed_tile_bytes.
void pack_tile(DType dtype, int64_t cols, std::span<const std::byte> rows, int num_rows,
               std::span<std::byte> tile);

}  // namespace kvi::cuda
