// What is left to do for each head between its projection and attention, in one pass: a warp a head, its
// values in registers, four neighbours a lane.
#include "attention_ops.cuh"
#include "heads.h"

namespace kvi::cuda {
namespace {

// kRuns: of four values, a lane; 32 lanes have 128 of a head.

__device__ float sum_of_warp(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0u, value, distance);
  }
  return value;
}

__device__ uint2 pack(Format format, float4 x) {
  if (format == Format::bf16) {
    return {Half16<__nv_bfloat16>::pack(x.x, x.y), Half16<__nv_bfloat16>::pack(x.z, x.w)};
  }
  const float most = 65504;
  x.x = fminf(fmaxf(x.x, -most), most), x.y = fminf(fmaxf(x.y, -most), most);
  x.z = fminf(fmaxf(x.z, -most), most), x.w = fminf(fmaxf(x.w, -most), most);
  return {Half16<__half>::pack(x.x, x.y), Half16<__half>::pack(x.z, x.w)};
}

// What a lane's values meet, read together with them.
template <int kRuns>
struct NormFactors {
  float4 weight[kRuns], bias[kRuns];
};
template <int kRuns>
struct Angles {
  float2 at[kRuns][4];  // cosine and sine
};

template <int kRuns>
__device__ void read_norm(const NormWeights& norm, int head_dim, int lane,
                          NormFactors<kRuns>& factors) {
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int d = (r * 32 + lane) * 4;
    if (d >= head_dim) continue;
    factors.weight[r] = *reinterpret_cast<const float4*>(norm.weight + d);
    factors.bias[r] = norm.form == NormForm::layer && norm.bias != nullptr
                          ? *reinterpret_cast<const float4*>(norm.bias + d)
                          : make_float4(0, 0, 0, 0);
  }
}

// Neighbouring pairs lie side by side.
template <int kRuns>
__device__ void read_angles(const StoreHeadsParams& p, const float* from, int lane,
                            Angles<kRuns>& angles) {
  const int half = p.rotary_dim / 2;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int d = (r * 32 + lane) * 4;
    if (d >= p.rotary_dim) continue;
    float2(&a)[4] = angles.at[r];
    if (p.interleaved) {
      const float4 both = *reinterpret_cast<const float4*>(from + d);
      a[0] = a[1] = make_float2(both.x, both.y);
      a[2] = a[3] = make_float2(both.z, both.w);
    } else if (half % 4 == 0) {
      const float* first = from + 2 * (d < half ? d : d - half);
      const float4 low = *reinterpret_cast<const float4*>(first);
      const float4 high = *reinterpret_cast<const float4*>(first + 4);
      a[0] = make_float2(low.x, low.y), a[1] = make_float2(low.z, low.w);
      a[2] = make_float2(high.x, high.y), a[3] = make_float2(high.z, high.w);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int pair = d + j < half ? d + j : d + j - half;
        a[j] = *reinterpret_cast<const float2*>(from + 2 * pair);
      }
    }
  }
}

template <int kRuns>
__device__ void apply(const NormWeights& norm, int head_dim, int lane,
                      const NormFactors<kRuns>& factors, float4 (&x)[kRuns]) {
  const float count = static_cast<float>(head_dim);
  float mean = 0;
  if (norm.form == NormForm::layer) {
    float sum = 0;
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      if ((r * 32 + lane) * 4 < head_dim) sum += (x[r].x + x[r].y) + (x[r].z + x[r].w);
    }
    mean = sum_of_warp(sum) / count;
  }
  float squares = 0;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    if ((r * 32 + lane) * 4 >= head_dim) continue;
    x[r].x -= mean, x[r].y -= mean, x[r].z -= mean, x[r].w -= mean;
    squares = fmaf(x[r].x, x[r].x, squares), squares = fmaf(x[r].y, x[r].y, squares);
    squares = fmaf(x[r].z, x[r].z, squares), squares = fmaf(x[r].w, x[r].w, squares);
  }
  const float scale = 1.0f / sqrtf(sum_of_warp(squares) / count + norm.eps);
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int d = (r * 32 + lane) * 4;
    if (d >= head_dim) continue;
    const float4 w = factors.weight[r], b = factors.bias[r];
    x[r].x *= scale * w.x, x[r].y *= scale * w.y, x[r].z *= scale * w.z, x[r].w *= scale * w.w;
    if (norm.form == NormForm::layer) {
      x[r].x += b.x, x[r].y += b.y, x[r].z += b.z, x[r].w += b.w;
    }
  }
}

// One value of a rotated pair, of which `other` is the second half's (sign 1) or the first's (sign -1).
__device__ float turned(float x, float other, float cosine, float sine, float sign) {
  return fmaf(-sign * other, sine, x * cosine);
}

template <int kRuns>
__device__ void rotate(const StoreHeadsParams& p, const Angles<kRuns>& angles, int lane,
                       float* head, float4 (&x)[kRuns]) {
  if (p.interleaved) {
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      const int d = (r * 32 + lane) * 4;
      if (d >= p.rotary_dim) continue;
      const float2(&a)[4] = angles.at[r];
      const float4 v = x[r];
      x[r] = {turned(v.x, v.y, a[0].x, a[0].y, 1), turned(v.y, v.x, a[1].x, a[1].y, -1),
              turned(v.z, v.w, a[2].x, a[2].y, 1), turned(v.w, v.z, a[3].x, a[3].y, -1)};
    }
    return;
  }
  const int half = p.rotary_dim / 2;
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int d = (r * 32 + lane) * 4;
    if (d < p.rotary_dim) *reinterpret_cast<float4*>(head + d) = x[r];
  }
  __syncwarp();
#pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    const int d = (r * 32 + lane) * 4;
    if (d >= p.rotary_dim) continue;
    float values[4] = {x[r].x, x[r].y, x[r].z, x[r].w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int i = d + j;
      const bool is_first = i < half;
      const float2 a = angles.at[r][j];
      values[j] = turned(values[j], head[is_first ? i + half : i - half], a.x, a.y,
                         is_first ? 1 : -1);
    }
    x[r] = {values[0], values[1], values[2], values[3]};
  }
  __syncwarp();  // the next head may take the place
}

// Grid: (heads of queries, keys and values by kFinishWarps * p.heads_of_warp, rows).
template <int kRuns>
__device__ void store(const StoreHeadsParams& p) {
  __shared__ __align__(16) float heads[kFinishWarps][kRuns * 128];
  let_next_start();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int begin = (blockIdx.x * kFinishWarps + warp) * p.heads_of_warp, row = blockIdx.y;
  const int first_value = p.num_heads + p.num_kv_heads;
  const int end = min(begin + p.heads_of_warp, first_value + p.num_kv_heads);
  // What the step began with, so it may be read before the products are done.
  int position = 0, page = 0;
  const int sequence = p.tables.sequence[row];
  if (end > p.num_heads && sequence >= 0) {
    position = p.positions[row];
    page = p.tables.pages[p.tables.first[sequence] + (position >> p.page_shift)];
  }
  wait_for_earlier();
  if (sequence < 0) return;  // a row that only fills the step up
  Angles<kRuns> angles;
  const bool rotates = p.angles != nullptr && begin < first_value;
  if (rotates) read_angles(p, p.angles + int64_t{row} * p.rotary_dim, lane, angles);
  for (int index = begin; index < end; ++index) {
    const bool is_query = index < p.num_heads, is_value = index >= first_value;
    const int h = is_query ? index : (index - p.num_heads) % p.num_kv_heads;
    const float* from = is_query   ? p.queries + row * p.query_stride
                        : is_value ? p.values + row * p.value_stride
                                   : p.keys + row * p.key_stride;
    from += h * p.head_dim;
    const NormWeights& norm = is_query ? p.q_norm : p.k_norm;
    const bool norms = !is_value && norm.form != NormForm::none;
    NormFactors<kRuns> factors;
    if (norms) read_norm(norm, p.head_dim, lane, factors);
    float4 x[kRuns];
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      const int d = (r * 32 + lane) * 4;
      x[r] = d < p.head_dim ? *reinterpret_cast<const float4*>(from + d) : make_float4(0, 0, 0, 0);
    }
    if (norms) apply(norm, p.head_dim, lane, factors, x);
    if (rotates && !is_value) rotate(p, angles, lane, heads[warp], x);
    uint8_t* to;
    if (is_query) {
      to = static_cast<uint8_t*>(p.rounded_queries) +
           (int64_t{row} * p.num_heads + h) * p.head_dim * 2;
    } else {
      const PagePlane& plane = is_value ? p.value : p.key;
      to = p.pages + static_cast<int64_t>(page) * p.page_bytes + plane.offset +
           h * plane.head_stride + (position & ((1 << p.page_shift) - 1)) * plane.slot_stride;
    }
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      const int d = (r * 32 + lane) * 4;
      if (d < p.head_dim) *reinterpret_cast<uint2*>(to + d * 2) = pack(p.format, x[r]);
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFinishThreads)
    store_heads_128(const __grid_constant__ StoreHeadsParams p) {
  store<1>(p);
}
extern "C" __global__ void __launch_bounds__(kFinishThreads)
    store_heads_256(const __grid_constant__ StoreHeadsParams p) {
  store<2>(p);
}

}  // namespace kvi::cuda
