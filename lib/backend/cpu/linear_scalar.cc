// Product kernels in plain C++: the reference for the other instruction sets, and the fallback.
#include <cmath>

#include "backend/cpu/linear_kernels_impl.h"
#include "tensor/half.h"

namespace kvi::cpu {
namespace {

struct Scalar {
  static constexpr int kLanes = 16;
  static constexpr int kTileVectors = 1, kTileRows = 2;
  static constexpr int kFloatTileVectors = 1, kFloatTileRows = 2;
  static constexpr bool kSignedDot8 = false;
  // The compiler's vectors: whole registers to the sanitizers, where arrays would be watched by lane.
  typedef float F __attribute__((vector_size(kLanes * 4)));
  typedef uint32_t I __attribute__((vector_size(kLanes * 4)));
  typedef int32_t SignedI __attribute__((vector_size(kLanes * 4)));
  typedef uint8_t U8 __attribute__((vector_size(kLanes)));
  typedef int8_t I8 __attribute__((vector_size(kLanes)));

  static F zero() { return F{}; }
  static F load(const float* at) { return read_as<F>(at); }
  static F load_f32(const std::byte* at) { return read_as<F>(at); }
  static void store(float* at, F v) { __builtin_memcpy(at, &v, sizeof v); }
  static F broadcast(const void* at) {  // by its bits: 0 + -0 would be 0
    return reinterpret_cast<F>(I{} + read_as<uint32_t>(at));
  }
  static F add(F a, F b) { return a + b; }
  static F mul(F a, F b) { return a * b; }
  static F fma(F a, F b, F c) {
    for (int i = 0; i < kLanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
    return c;
  }
  static F to_float(I v) { return __builtin_convertvector(reinterpret_cast<SignedI>(v), F); }

  static F load_f16(const std::byte* at) {
    F v{};
    for (int i = 0; i < kLanes; ++i) v[i] = f16_to_f32(read_as<uint16_t>(at + i * 2));
    return v;
  }
  static F load_bf16(const std::byte* at) {
    F v{};
    for (int i = 0; i < kLanes; ++i) v[i] = bf16_to_f32(read_as<uint16_t>(at + i * 2));
    return v;
  }
  static F load_i8(const std::byte* at) { return __builtin_convertvector(read_as<I8>(at), F); }
  static F load_low_nibbles(const std::byte* at) {
    return __builtin_convertvector(read_as<U8>(at) & 15, F);
  }
  static F load_high_nibbles(const std::byte* at) {
    return __builtin_convertvector(read_as<U8>(at) >> 4, F);
  }

  static I zero_int() { return I{}; }
  static I load_bytes(const std::byte* at) { return read_as<I>(at); }
  static I broadcast_word(const std::byte* at) { return I{} + read_as<uint32_t>(at); }
  template <int n>
  static I shift_left(I v) {
    return v << n;
  }
  template <int n>  // to the left where negative
  static I shift_right(I v) {
    return n > 0 ? v >> (n & 31) : v << (-n & 31);
  }
  static I and_bytes(I v, int mask) { return v & static_cast<uint32_t>(mask) * 0x01010101u; }
  static I or_bits(I a, I b) { return a | b; }
  template <int shift>  // one code of each word, less the zero point
  static I shifted_code(I words, int zero_point) {
    return (words >> shift & 255u) - static_cast<uint32_t>(zero_point);
  }

  static uint32_t largest_magnitude(const float* src) {
    uint32_t largest = 0;
    for (int i = 0; i < kBlockLen; ++i) {
      const uint32_t magnitude = read_as<uint32_t>(src + i) & 0x7fffffff;
      largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
  }
  static void round_block(const float* src, float inverse, std::byte* dst,
                          int32_t (&half_sums)[2]) {
    constexpr float kRoundingBias = 12582912.0f;  // 1.5 * 2^23: adding it rounds to nearest even
    constexpr int32_t kRoundingBits = 0x4b400000;
    half_sums[0] = half_sums[1] = 0;
    for (int i = 0; i < kBlockLen; ++i) {
      const float rounded = src[i] * inverse + kRoundingBias;
      const int8_t value = static_cast<int8_t>(read_as<int32_t>(&rounded) - kRoundingBits);
      dst[i] = static_cast<std::byte>(value);
      half_sums[i / 16] += value;
    }
  }

  template <int code_bits>
  static I dot(I sum, I codes, I inputs) {
    for (int byte = 0; byte < 4; ++byte) {
      const I code = codes >> (byte * 8) & 255u;
      const SignedI input = reinterpret_cast<SignedI>(inputs << (24 - byte * 8)) >> 24;
      sum += code * reinterpret_cast<I>(input);
    }
    return sum;
  }
};

}  // namespace

const LinearKernels kScalarKernels = {
    .panel_len = Scalar::kTileRows,
    .wide_panel_len = Scalar::kTileRows,
    .quantize_panel = quantize_panel<Scalar>,
    .multiply_codes = multiply_codes<Scalar>,
    .multiply_floats = multiply_floats<Scalar>,
};

}  // namespace kvi::cpu
