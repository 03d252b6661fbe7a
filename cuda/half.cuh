// f32 to the 16-bit types that tensor cores take.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "formats.h"

namespace kvi::cuda {

constexpr float kLargestHalf = 65504.0f;

// Nearest, ties to even; beyond f16's range its largest value, NaN stays NaN.
__device__ __forceinline__ uint16_t to_f16(float x) {
  const float clamped = fabsf(x) > kLargestHalf ? copysignf(kLargestHalf, x) : x;
  return __half_as_ushort(__float2half_rn(clamped));
}
__device__ __forceinline__ uint16_t to_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__device__ __forceinline__ uint16_t to_16_bits(Format format, float x) {
  return format == Format::f16 ? to_f16(x) : to_bf16(x);
}

__device__ __forceinline__ float from_16_bits(Format format, uint16_t bits) {
  return format == Format::f16 ? __half2float(__ushort_as_half(bits))
                               : __uint_as_float(uint32_t{bits} << 16);
}

}  // namespace kvi::cuda
