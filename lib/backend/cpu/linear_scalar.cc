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
  struct F {
    float lane[kLanes];
  };
  struct I {
    uint32_t lane[kLanes];
  };

  template <typename V, typename Function>
  static KVI_INLINE V make(const Function& function) {
    V v;
    for (int i = 0; i < kLanes; ++i) v.lane[i] = function(i);
    return v;
  }

  static F zero() { return {}; }
  static F load(const float* at) { return read_as<F>(at); }
  static F load_f32(const std::byte* at) { return read_as<F>(at); }
  static void store(float* at, F v) { __builtin_memcpy(at, &v, sizeof v); }
  static F broadcast(const void* at) {
    return make<F>([&](int) { return read_as<float>(at); });
  }
  static F add(F a, F b) {
    return make<F>([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static F mul(F a, F b) {
    return make<F>([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F fma(F a, F b, F c) {
    return make<F>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F to_float(I v) {
    return make<F>([&](int i) { return static_cast<float>(static_cast<int32_t>(v.lane[i])); });
  }

  static F load_f16(const std::byte* at) {
    return make<F>([&](int i) { return f16_to_f32(read_as<uint16_t>(at + i * 2)); });
  }
  static F load_bf16(const std::byte* at) {
    return make<F>([&](int i) { return bf16_to_f32(read_as<uint16_t>(at + i * 2)); });
  }
  static F load_i8(const std::byte* at) {
    return make<F>([&](int i) { return static_cast<float>(static_cast<int8_t>(at[i])); });
  }
  static F load_low_nibbles(const std::byte* at) {
    return make<F>([&](int i) { return static_cast<float>(static_cast<uint8_t>(at[i]) & 15); });
  }
  static F load_high_nibbles(const std::byte* at) {
    return make<F>([&](int i) { return static_cast<float>(static_cast<uint8_t>(at[i]) >> 4); });
  }

  static I zero_int() { return {}; }
  static I load_bytes(const std::byte* at) { return read_as<I>(at); }
  static I broadcast_word(const std::byte* at) {
    return make<I>([&](int) { return read_as<uint32_t>(at); });
  }
  template <int n>
  static I shift_left(I v) {
    return make<I>([&](int i) { return v.lane[i] << n; });
  }
  template <int n>  // to the left where negative
  static I shift_right(I v) {
    return make<I>([&](int i) { return n > 0 ? v.lane[i] >> (n & 31) : v.lane[i] << (-n & 31); });
  }
  static I and_bytes(I v, int mask) {
    return make<I>([&](int i) { return v.lane[i] & static_cast<uint32_t>(mask) * 0x01010101u; });
  }
  static I or_bits(I a, I b) {
    return make<I>([&](int i) { return a.lane[i] | b.lane[i]; });
  }
  template <int shift>  // one code of each word, less the zero point
  static I shifted_code(I words, int zero_point) {
    return make<I>(
        [&](int i) { return (words.lane[i] >> shift & 255) - static_cast<uint32_t>(zero_point); });
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
    return make<I>([&](int i) {
      uint32_t total = sum.lane[i];
      for (int byte = 0; byte < 4; ++byte) {
        const int32_t code = static_cast<uint8_t>(codes.lane[i] >> (byte * 8));
        const int32_t input = static_cast<int8_t>(inputs.lane[i] >> (byte * 8));
        total += static_cast<uint32_t>(code * input);
      }
      return total;
    });
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
