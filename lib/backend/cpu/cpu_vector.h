// A vector of f32 weights in host memory.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"

namespace kvi::cpu {

class CpuVector final : public Vector {
 public:
  explicit CpuVector(std::span<const float> values) : values_(values.begin(), values.end()) {}
  int64_t size() const override { return static_cast<int64_t>(values_.size()); }
  const float* data() const { return values_.data(); }

 private:
  std::vector<float> values_;
};

// The values of a vector of this backend; nullptr for nullptr.
inline const float* values_of(const Vector* vector) {
  return vector == nullptr ? nullptr : static_cast<const CpuVector*>(vector)->data();
}

}  // namespace kvi::cpu
