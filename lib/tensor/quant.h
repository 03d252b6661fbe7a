// Block formats of weights, value by value: the plain reference that every fast kernel is tested
// against. Results are bitwise those of the gguf Python package (tests/generate/quant_goldens.py).
//
// Thread-safe: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace kvi {

// Expands n values. Requires: n is a multiple of the block length; src has row_bytes(dtype, n) bytes,
// at any alignment.
void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n);

// Rounds n values to F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1; throws UNSUPPORTED for the K types,
// which this library only reads. Requires: as above. Values that are not finite give some valid block.
void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n);

}  // namespace kvi
