// Weights on the GPU: matrices as their file stores them or, in most block formats, packed (cuda/packed.h); vectors in f32.
//
// Immutable after loading, so thread-safe.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/repack.h"
#include "cuda/rows.h"

namespace kvi::cuda {

class CudaMatrix final : public Matrix {
 public:
  // Throws OUT_OF_MEMORY, and whatever the source throws.
  CudaMatrix(const std::shared_ptr<const Device>& device, const MatrixSource& source);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  DType dtype() const override { return dtype_; }
  uint64_t size_bytes() const override { return buffer_.size_bytes(); }

  MatrixView view() const;

  static uint64_t bytes(DType dtype, int64_t rows, int64_t cols);
  static uint64_t load_scratch_bytes(DType dtype, int64_t rows, int64_t cols);

 private:
  const int64_t rows_, cols_;
  const DType dtype_;
  const bool is_packed_;
  const DeviceBuffer buffer_;
};

class CudaVector final : public Vector {
 public:
  CudaVector(const std::shared_ptr<const Device>& device, std::span<const float> values);

  int64_t size() const override { return size_; }
  const float* data() const { return reinterpret_cast<const float*>(buffer_.data()); }

 private:
  const int64_t size_;
  const DeviceBuffer buffer_;
};

// Of this backend's own. nullptr: the part is absent.
inline const float* values_of(const Vector* vector) {
  return vector == nullptr ? nullptr : static_cast<const CudaVector*>(vector)->data();
}
inline MatrixView view_of(const Matrix* matrix) {
  return matrix == nullptr ? MatrixView{} : static_cast<const CudaMatrix*>(matrix)->view();
}

}  // namespace kvi::cuda
