// What surrounds a large matrix product: packed weights to f16 before it, biases and gates after it.
#include "unpack.h"

#include "half.cuh"
#include "overlap.cuh"
#include "packed.cuh"

namespace kvi::cuda {
namespace {

// Grid: one warp a unit, tile after tile. A warp writes whole sectors: 64 bytes of 16 rows a step.
template <Format F>
__device__ void unpack(const UnpackParams& p) {
  constexpr int kLen = kPackedUnit<F>.len;
  const int lane = threadIdx.x % 32;
  const int64_t units = p.cols / kLen;
  const int64_t index = (int64_t{blockIdx.x} * kUnpackThreads + threadIdx.x) / 32;
  const int64_t tile = index / units, unit = index % units;
  wait_for_earlier();  // the product before may still read out
  let_next_start();
  if (tile * kTileRows >= p.num_rows) return;
  const PackedReader<F> reader(p.tiles + index * kPackedUnit<F>.bytes, lane);
#pragma unroll
  for (int s = 0; s < kLen / kStepCols; ++s) {
    uint32_t weights[2][4];
    reader.step(s, weights);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = tile * kTileRows + lane / 4 + 8 * half;
      if (row >= p.num_rows) continue;
      uint16_t* to = p.out + row * p.cols + unit * kLen + s * kStepCols + lane % 4 * 8;
      *reinterpret_cast<uint4*>(to) = make_uint4(weights[half][0], weights[half][1],
                                                 weights[half][2], weights[half][3]);
    }
  }
}

// A product beyond f16's range has become infinite: its largest value, as rounding makes it elsewhere.
__device__ float finite(Format format, uint16_t bits) {
  const float value = from_16_bits(format, bits);
  return format == Format::f16 && fabsf(value) > kLargestHalf ? copysignf(kLargestHalf, value)
                                                              : value;
}

__device__ float activated(float x, bool gelu) {
  // 0.5 (1 + tanh u) = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  const float u = gelu ? fmaf(x * x * x, 0.044715f, x) * 1.5957691216057308f : x;
  return x / (1.0f + expf(-u));
}

}  // namespace

#define KVI_UNPACK_KERNEL(format)                               \
  extern "C" __global__ void __launch_bounds__(kUnpackThreads)  \
      unpack_##format(const __grid_constant__ UnpackParams p) { \
    unpack<Format::format>(p);                                  \
  }
KVI_CUDA_PACKED_FORMATS(KVI_UNPACK_KERNEL)

// Grid: one thread 8 values.
extern "C" __global__ void __launch_bounds__(kUnpackThreads)
    gate_halves(const __grid_constant__ GateHalvesParams p) {
  wait_for_earlier();
  let_next_start();
  const int64_t i = (int64_t{blockIdx.x} * kUnpackThreads + threadIdx.x) * 8;
  if (i >= p.count) return;
  const uint4 gates = *reinterpret_cast<const uint4*>(p.gate + i);
  const uint4 ups = *reinterpret_cast<const uint4*>(p.up + i);
  const uint32_t gate_words[4] = {gates.x, gates.y, gates.z, gates.w};
  uint32_t words[4] = {ups.x, ups.y, ups.z, ups.w};
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    uint32_t made = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float gate = finite(p.format, static_cast<uint16_t>(gate_words[w] >> 16 * half));
      const float up = finite(p.format, static_cast<uint16_t>(words[w] >> 16 * half));
      made |= uint32_t{to_16_bits(p.format, activated(gate, p.gelu != 0) * up)} << 16 * half;
    }
    words[w] = made;
  }
  *reinterpret_cast<uint4*>(p.up + i) = make_uint4(words[0], words[1], words[2], words[3]);
}

// Grid: one thread a value.
extern "C" __global__ void __launch_bounds__(kUnpackThreads)
    add_bias(const __grid_constant__ AddBiasParams p) {
  wait_for_earlier();
  let_next_start();
  const int64_t i = int64_t{blockIdx.x} * kUnpackThreads + threadIdx.x;
  if (i >= p.rows * p.num_tokens) return;
  const float bias = p.bias[i % p.rows];
  if (p.format == Format::f32) {
    static_cast<float*>(p.out)[i] += bias;
  } else {
    uint16_t& value = static_cast<uint16_t*>(p.out)[i];
    value = to_16_bits(p.format, from_16_bits(p.format, value) + bias);
  }
}

}  // namespace kvi::cuda
