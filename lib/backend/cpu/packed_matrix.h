// A weight matrix repacked for the CPU kernels (see packed_format.h).
//
// Immutable after packing; shared by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/backend.h"
#include "backend/cpu/packed_format.h"
#include "backend/cpu/weight_memory.h"

namespace kvi::cpu {

// Where the parts of a packed matrix lie.
struct PackedShape {
  int64_t num_groups =
      0;  // of 16 rows, a multiple of kGroupsPerTile; the last are padded with zeros
  int64_t scales_offset = 0;  // bytes from the start of a group to its scales
  int64_t group_bytes = 0;    // a multiple of 64

  int64_t size_bytes() const { return num_groups * group_bytes; }
};

PackedShape packed_shape(DType dtype, int64_t rows, int64_t cols);

class PackedMatrix final : public Matrix {
 public:
  // Pulls the rows and packs them. Throws OUT_OF_MEMORY, and whatever the source throws.
  PackedMatrix(const MatrixSource& source, WeightMemory& memory);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  DType dtype() const override { return dtype_; }
  uint64_t size_bytes() const override { return static_cast<uint64_t>(shape_.size_bytes()); }

  const PackedShape& shape() const { return shape_; }
  const std::byte* group(int64_t index) const { return memory_.get() + index * shape_.group_bytes; }

  void unpack_row(int64_t row, float* dst) const;

 private:
  DType dtype_;
  int64_t rows_, cols_;
  PackedShape shape_;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace kvi::cpu
