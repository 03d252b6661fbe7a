// The product kernels, written once over the vector operations of an instruction set (Ops).
//
// Each linear_<isa>.cc is compiled for its own instruction set and instantiates these templates with
// an Ops of internal linkage, so that no symbol here can be merged with that of another set. Nothing
// from the standard library is called for the same reason.
//
// Ops has kLanes lanes (rows of weights), F (f32 lanes) and I (int32 lanes, or four bytes each).
#pragma once

#include "backend/cpu/linear_kernels.h"
#include "backend/cpu/packed_format.h"

namespace kvi::cpu {

template <int N>
struct Index {
  static constexpr int value = N;
};
template <int... Is>
struct Indices {};
template <int N, int... Is>
struct MakeIndices : MakeIndices<N - 1, N - 1, Is...> {};
template <int... Is>
struct MakeIndices<0, Is...> {
  using type = Indices<Is...>;
};

template <typename Body, int... Is>
KVI_INLINE void unroll_over(const Body& body, Indices<Is...>) {
  (body(Index<Is>{}), ...);
}
// Calls body(Index<0>{}) .. body(Index<N - 1>{}), unrolled in the front end so that arrays of vectors
// become registers.
template <int N, typename Body>
KVI_INLINE void unroll(const Body& body) {
  unroll_over(body, typename MakeIndices<N>::type{});
}
#define KVI_UNROLL(name) [&](auto name) __attribute__((always_inline))

template <typename T>
KVI_INLINE T read_as(const void* at) {
  T value;
  __builtin_memcpy(&value, at, sizeof value);
  return value;
}

constexpr int log2_of(int power) { return power <= 1 ? 0 : 1 + log2_of(power / 2); }

// ---- weights ----

// The vectors of kLanes rows that a kernel reads: where its codes and scales begin.
template <typename Ops>
struct VectorPlace {
  const std::byte* codes;
  const std::byte* scales;
  int lane;  // of the group's 16: the vector's first row

  KVI_INLINE VectorPlace(const LinearPiece& piece, int vector) {
    constexpr int kPerGroup = kGroupRows / Ops::kLanes;
    const std::byte* group = piece.groups + vector / kPerGroup * piece.group_bytes;
    lane = vector % kPerGroup * Ops::kLanes;
    codes = group + lane * 4;
    scales = group + piece.scales_offset;
  }
};

// Vector j of a plane of bits bits, its codes at bit `at` of each byte.
template <typename Ops, int bits, int j, int at>
KVI_INLINE typename Ops::I load_plane(const std::byte* plane) {
  constexpr int kPerVector = 8 / bits;
  constexpr int kShift = j % kPerVector * bits - at;
  const typename Ops::I v = Ops::load_bytes(plane + j / kPerVector * 64);
  if constexpr (bits == 8) {
    return v;
  } else {
    return Ops::and_bytes(Ops::template shift_right<kShift>(v), ((1 << bits) - 1) << at);
  }
}

// Vector j of a block's codes.
template <typename Ops, PackedFormat format, int j>
KVI_INLINE typename Ops::I load_codes(const std::byte* block) {
  typename Ops::I codes = load_plane<Ops, format.low_bits, j, 0>(block);
  if constexpr (format.high_bits > 0) {
    codes = Ops::or_bits(
        codes, load_plane<Ops, format.high_bits, j, format.low_bits>(block + format.low_bits * 64));
  }
  return codes;
}

template <typename Ops>
struct Scales {
  typename Ops::F scale, min;
};

// The f16 scale and min of a unit.
template <typename Ops, PackedFormat format>
KVI_INLINE Scales<Ops> load_unit_scales(const std::byte* unit, int lane) {
  Scales<Ops> scales;
  scales.scale = Ops::load_f16(unit + lane * 2);
  if constexpr (format.has_min) scales.min = Ops::load_f16(unit + format.min_offset() + lane * 2);
  return scales;
}

// Those of the run of scale_len columns that starts `index` runs into the unit.
template <typename Ops, PackedFormat format>
KVI_INLINE Scales<Ops> load_scales(const Scales<Ops>& of_unit, const std::byte* unit, int lane,
                                   int64_t index) {
  Scales<Ops> scales = of_unit;
  if constexpr (format.two_levels) {
    const std::byte* factors = unit + format.factors_offset() + index * 16 + lane;
    if constexpr (format.joint_factors) {
      scales.scale = Ops::mul(of_unit.scale, Ops::load_low_nibbles(factors));
      scales.min = Ops::mul(of_unit.min, Ops::load_high_nibbles(factors));
    } else {
      scales.scale = Ops::mul(of_unit.scale, Ops::load_i8(factors));
      if constexpr (format.has_min) {
        scales.min = Ops::mul(of_unit.min, Ops::load_i8(factors + format.min_factors_offset() -
                                                        format.factors_offset()));
      }
    }
  }
  return scales;
}

// ---- outputs ----

// Sums of kLanes outputs of one input row; output: the first one's index in the piece.
template <typename Ops>
KVI_INLINE void finish(const LinearPiece& piece, int output, int row, typename Ops::F sum) {
  float* out = piece.out + row * piece.out_stride + output;
  const int num_outputs = piece.num_outputs - output;
  if (num_outputs >= Ops::kLanes) {
    if (piece.bias != nullptr) sum = Ops::add(sum, Ops::load(piece.bias + output));
    if (piece.add) sum = Ops::add(Ops::load(out), sum);
    Ops::store(out, sum);
    return;
  }
  float sums[Ops::kLanes];
  Ops::store(sums, sum);
  for (int i = 0; i < num_outputs; ++i) {
    if (piece.bias != nullptr) sums[i] += piece.bias[output + i];
    out[i] = piece.add ? out[i] + sums[i] : sums[i];
  }
}

// ---- int8 inputs ----

// Ops rounds src * inverse to nearest even, and finds the largest magnitude as the bits of its float:
// floats of one sign sort as their bits do, NaN on top.
template <typename Ops>
void quantize_panel(const float* rows, int64_t stride, int num_rows, int64_t cols,
                    std::byte* panel) {
  constexpr float kSmallest = 0x1p-100f;  // below, 127 / largest may overflow: taken for zero
  constexpr float kLargest = 0x1.fffffep127f;
  for (int64_t col = 0; col < cols; col += kBlockLen, panel += num_rows * BlockFields::kRowBytes) {
    std::byte* fields = panel + num_rows * kBlockLen;
    for (int row = 0; row < num_rows; ++row) {
      const float* src = rows + row * stride + col;
      const uint32_t largest_bits = Ops::largest_magnitude(src);
      const float largest = read_as<float>(&largest_bits);
      float scale = largest / 127, inverse = 127 / largest;
      if (largest < kSmallest) scale = inverse = 0;
      if (!(largest <= kLargest)) {  // infinity or NaN: the outputs become NaN
        scale = largest;
        inverse = 0;
      }
      std::byte* codes = panel + row * kBlockLen;
      int32_t half_sums[2] = {0, 0};
      if (inverse != 0) {
        Ops::round_block(src, inverse, codes, half_sums);
      } else {
        __builtin_memset(codes, 0, kBlockLen);
      }
      const int32_t sum = half_sums[0] + half_sums[1];
      const int32_t negated[3] = {-sum, -half_sums[0], -half_sums[1]};
      const float scaled[3] = {scale * static_cast<float>(sum),
                               scale * static_cast<float>(half_sums[0]),
                               scale * static_cast<float>(half_sums[1])};
      const auto field = [&](int index) __attribute__((always_inline)) {
        return fields + (index * num_rows + row) * 4;
      };
      __builtin_memcpy(field(BlockFields::kScale), &scale, 4);
      for (int i = 0; i < 3; ++i) {
        __builtin_memcpy(field(BlockFields::kNegatedSum + i), &negated[i], 4);
        __builtin_memcpy(field(BlockFields::kScaledSum + i), &scaled[i], 4);
      }
    }
  }
}

// Asks for a block of codes, and the scales of a short unit, to be brought into the cache.
template <PackedFormat format>
KVI_INLINE void prefetch_block(const std::byte* codes, const std::byte* scales) {
  for (int line = 0; line < format.block_bytes(); line += 64) __builtin_prefetch(codes + line);
  if constexpr (!format.two_levels) __builtin_prefetch(scales);
}

// V vectors of weights times a panel of R rows. Per output one accumulator walks the runs of equal
// scale: sum = fma(dot, scale * input scale, sum), then sum = fma(min, input scale * input sum, sum).
template <typename Ops, PackedFormat format, int V, int R>
void multiply_tile(const LinearPiece& piece, int vector, int panel_index) {
  using F = typename Ops::F;
  using I = typename Ops::I;
  constexpr int kRunsPerBlock = kBlockLen / format.scale_len;
  constexpr int kVectorsPerRun = 8 / kRunsPerBlock;
  constexpr int kBlocksPerUnit = format.unit_len() / kBlockLen;
  constexpr bool kSubtractZero = format.zero_point != 0 &&
                                 !(format.low_bits == 8 && Ops::kSignedDot8);

  const int first_row = piece.split.first_row(panel_index);
  const int64_t num_blocks = piece.cols / kBlockLen;
  const std::byte* panel = piece.panels + first_row * num_blocks * BlockFields::kRowBytes;
  const std::byte* codes[V];
  const std::byte* scales[V];
  int lanes[V];
  unroll<V>(KVI_UNROLL(v) {
    const VectorPlace<Ops> place(piece, vector + v.value);
    codes[v.value] = place.codes;
    scales[v.value] = place.scales;
    lanes[v.value] = place.lane;
  });

  // The first panel brings in the weights of the next vectors, which memory delivers while these are
  // multiplied. Only a single row of whole bytes leaves no time for it: there the hardware does better.
  const bool prefetches = (R > 1 || format.code_bits() < 8) && panel_index == piece.first_panel;
  const int64_t prefetch_bytes = prefetches ? V * Ops::kLanes * piece.group_bytes / kGroupRows : 0;

  F sums[R][V];
  unroll<R>(KVI_UNROLL(r) { unroll<V>(KVI_UNROLL(v) { sums[r.value][v.value] = Ops::zero(); }); });

  for (int64_t unit = 0; unit < num_blocks / kBlocksPerUnit; ++unit) {
    Scales<Ops> of_unit[V];
    unroll<V>(KVI_UNROLL(v) {
      of_unit[v.value] = load_unit_scales<Ops, format>(scales[v.value], lanes[v.value]);
    });
    for (int block = 0; block < kBlocksPerUnit; ++block) {
      const std::byte* fields = panel + R * kBlockLen;
      unroll<kRunsPerBlock>(KVI_UNROLL(run) {
        constexpr int kRun = decltype(run)::value;
        constexpr int kSumField = kRunsPerBlock == 1 ? 0 : 1 + kRun;
        I dots[R][V];
        unroll<R>(KVI_UNROLL(r) {
          I first = Ops::zero_int();
          if constexpr (kSubtractZero) {
            constexpr int kField = BlockFields::kNegatedSum + kSumField;
            first = Ops::template shift_left<log2_of(format.zero_point)>(
                Ops::broadcast_word(fields + (kField * R + r.value) * 4));
          }
          unroll<V>(KVI_UNROLL(v) { dots[r.value][v.value] = first; });
        });
        unroll<kVectorsPerRun>(KVI_UNROLL(i) {
          constexpr int kVector = kRun * kVectorsPerRun + decltype(i)::value;
          I weights[V];
          unroll<V>(KVI_UNROLL(v) {
            weights[v.value] = load_codes<Ops, format, kVector>(codes[v.value]);
          });
          unroll<R>(KVI_UNROLL(r) {
            const I input = Ops::broadcast_word(panel + r.value * kBlockLen + kVector * 4);
            unroll<V>(KVI_UNROLL(v) {
              dots[r.value][v.value] = Ops::template dot<format.code_bits()>(
                  dots[r.value][v.value], weights[v.value], input);
            });
          });
        });
        unroll<V>(KVI_UNROLL(v) {
          const Scales<Ops> scale = load_scales<Ops, format>(
              of_unit[v.value], scales[v.value], lanes[v.value], block * kRunsPerBlock + kRun);
          unroll<R>(KVI_UNROLL(r) {
            const F input_scale = Ops::broadcast(fields + (BlockFields::kScale * R + r.value) * 4);
            F& sum = sums[r.value][v.value];
            sum = Ops::fma(Ops::to_float(dots[r.value][v.value]),
                           Ops::mul(scale.scale, input_scale), sum);
            if constexpr (format.has_min) {
              constexpr int kField = BlockFields::kScaledSum + kSumField;
              sum = Ops::fma(scale.min, Ops::broadcast(fields + (kField * R + r.value) * 4), sum);
            }
          });
        });
      });
      if (prefetch_bytes != 0) {
        unroll<V>(KVI_UNROLL(v) {
          prefetch_block<format>(codes[v.value] + prefetch_bytes, scales[v.value] + prefetch_bytes);
        });
      }
      unroll<V>(KVI_UNROLL(v) { codes[v.value] += format.block_bytes(); });
      panel += R * BlockFields::kRowBytes;
    }
    unroll<V>(KVI_UNROLL(v) { scales[v.value] += format.unit_bytes(); });
  }
  unroll<V>(KVI_UNROLL(v) {
    unroll<R>(KVI_UNROLL(r) {
      finish<Ops>(piece, (vector + v.value) * Ops::kLanes, first_row + r.value,
                  sums[r.value][v.value]);
    });
  });
}

template <typename Ops, PackedFormat format, int V, int R = Ops::kTileRows>
KVI_INLINE void multiply_panel(const LinearPiece& piece, int vector, int panel, int num_rows) {
  if (num_rows == R) {
    multiply_tile<Ops, format, V, R>(piece, vector, panel);
  } else if constexpr (R > 1) {
    multiply_panel<Ops, format, V, R - 1>(piece, vector, panel, num_rows);
  }
}

template <typename Ops, PackedFormat format>
void multiply_format(const LinearPiece& piece) {
  constexpr int kVectors = Ops::kTileVectors;
  static_assert(kGroupsPerTile * kGroupRows % (kVectors * Ops::kLanes) == 0);
  const int num_vectors = piece.num_groups * kGroupRows / Ops::kLanes;
  for (int vector = 0; vector < num_vectors; vector += kVectors) {
    for (int panel = piece.first_panel; panel < piece.last_panel; ++panel) {
      const int num_rows = piece.split.first_row(panel + 1) - piece.split.first_row(panel);
      multiply_panel<Ops, format, kVectors>(piece, vector, panel, num_rows);
    }
  }
}

// Calls body(Index<number of the type>{}) for a quantized type.
template <typename Body>
KVI_INLINE void for_quantized_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::Q4_0: return body(Index<int(DType::Q4_0)>{});
    case DType::Q4_1: return body(Index<int(DType::Q4_1)>{});
    case DType::Q5_0: return body(Index<int(DType::Q5_0)>{});
    case DType::Q5_1: return body(Index<int(DType::Q5_1)>{});
    case DType::Q8_0: return body(Index<int(DType::Q8_0)>{});
    case DType::Q2_K: return body(Index<int(DType::Q2_K)>{});
    case DType::Q3_K: return body(Index<int(DType::Q3_K)>{});
    case DType::Q4_K: return body(Index<int(DType::Q4_K)>{});
    case DType::Q5_K: return body(Index<int(DType::Q5_K)>{});
    case DType::Q6_K: return body(Index<int(DType::Q6_K)>{});
    case DType::F32:
    case DType::F16:
    case DType::BF16: return;
  }
}

template <typename Ops>
void multiply_codes(DType dtype, const LinearPiece& piece) {
  for_quantized_type(
      dtype, KVI_UNROLL(type) {
        constexpr PackedFormat kFormat = packed_format(static_cast<DType>(decltype(type)::value));
        multiply_format<Ops, kFormat>(piece);
      });
}

// ---- f32 inputs ----

inline constexpr int kExpandedCols = 128;  // expanded at a time: 32 KiB of weights
inline constexpr int kExpandedRows = kFloatGroups * kGroupRows;

// Weights as f32, [columns][kExpandedRows].
using ExpandedWeights = float[kExpandedCols][kExpandedRows];

// Columns [first, last) of one vector of rows; they lie in whole blocks.
template <typename Ops, PackedFormat format>
KVI_INLINE void expand_codes(const VectorPlace<Ops>& place, int64_t first, int64_t last,
                             float* dst) {
  for (int64_t block = first / kBlockLen; block < last / kBlockLen; ++block) {
    constexpr int kBlocksPerUnit = format.unit_len() / kBlockLen;
    constexpr int kRunsPerBlock = kBlockLen / format.scale_len;
    const std::byte* unit = place.scales + block / kBlocksPerUnit * format.unit_bytes();
    const std::byte* codes = place.codes + block * format.block_bytes();
    const Scales<Ops> of_unit = load_unit_scales<Ops, format>(unit, place.lane);
    unroll<8>(KVI_UNROLL(j) {
      constexpr int kRun = decltype(j)::value * kRunsPerBlock / 8;
      const Scales<Ops> scale = load_scales<Ops, format>(
          of_unit, unit, place.lane, block % kBlocksPerUnit * kRunsPerBlock + kRun);
      const typename Ops::I words = load_codes<Ops, format, decltype(j)::value>(codes);
      unroll<4>(KVI_UNROLL(byte) {
        // The product is exact (at most 24 bits), so fused or not, there is one rounding.
        const typename Ops::F code = Ops::to_float(
            Ops::template shifted_code<byte.value * 8>(words, format.zero_point));
        typename Ops::F value = Ops::mul(scale.scale, code);
        if constexpr (format.has_min) value = Ops::add(value, scale.min);
        Ops::store(dst + (j.value * 4 + byte.value) * kExpandedRows, value);
      });
    });
    dst += kBlockLen * kExpandedRows;
  }
}

template <typename Ops>
KVI_INLINE void expand_vector(DType dtype, const LinearPiece& piece, int vector, int64_t first,
                              int64_t last, float* dst) {
  VectorPlace<Ops> place(piece, vector);
  const std::byte* group = place.codes - place.lane * 4;
  if (dtype == DType::F32) {
    for (int64_t col = first; col < last; ++col, dst += kExpandedRows) {
      Ops::store(dst, Ops::load_f32(group + (col * kGroupRows + place.lane) * 4));
    }
  } else if (dtype == DType::F16) {
    for (int64_t col = first; col < last; ++col, dst += kExpandedRows) {
      Ops::store(dst, Ops::load_f16(group + (col * kGroupRows + place.lane) * 2));
    }
  } else if (dtype == DType::BF16) {
    for (int64_t col = first; col < last; ++col, dst += kExpandedRows) {
      Ops::store(dst, Ops::load_bf16(group + (col * kGroupRows + place.lane) * 2));
    }
  } else {
    for_quantized_type(
        dtype, KVI_UNROLL(type) {
          constexpr PackedFormat kFormat = packed_format(static_cast<DType>(decltype(type)::value));
          expand_codes<Ops, kFormat>(place, first, last, dst);
        });
  }
}

// Adds the products of num_cols columns to sums [row][kExpandedRows], for V vectors and R rows.
template <typename Ops, int V, int R>
void accumulate_floats(const float* weights, int64_t num_cols, const float* rows, int64_t stride,
                       float* sums) {
  using F = typename Ops::F;
  F tile[R][V];
  unroll<R>(KVI_UNROLL(r) {
    unroll<V>(KVI_UNROLL(v) {
      tile[r.value][v.value] = Ops::load(sums + r.value * kExpandedRows + v.value * Ops::kLanes);
    });
  });
  for (int64_t col = 0; col < num_cols; ++col, weights += kExpandedRows) {
    F values[V];
    unroll<V>(KVI_UNROLL(v) { values[v.value] = Ops::load(weights + v.value * Ops::kLanes); });
    unroll<R>(KVI_UNROLL(r) {
      const F input = Ops::broadcast(rows + r.value * stride + col);
      unroll<V>(KVI_UNROLL(v) {
        tile[r.value][v.value] = Ops::fma(values[v.value], input, tile[r.value][v.value]);
      });
    });
  }
  unroll<R>(KVI_UNROLL(r) {
    unroll<V>(KVI_UNROLL(v) {
      Ops::store(sums + r.value * kExpandedRows + v.value * Ops::kLanes, tile[r.value][v.value]);
    });
  });
}

template <typename Ops, int R = Ops::kFloatTileRows>
KVI_INLINE void accumulate_rows(const float* weights, int64_t num_cols, const float* rows,
                                int64_t stride, int num_rows, float* sums) {
  for (; num_rows >= R; num_rows -= R, rows += R * stride, sums += R * kExpandedRows) {
    constexpr int kStep = Ops::kFloatTileVectors * Ops::kLanes;
    for (int lane = 0; lane < kExpandedRows; lane += kStep) {
      accumulate_floats<Ops, Ops::kFloatTileVectors, R>(weights + lane, num_cols, rows, stride,
                                                        sums + lane);
    }
  }
  if constexpr (R > 1) {
    accumulate_rows<Ops, R - 1>(weights, num_cols, rows, stride, num_rows, sums);
  }
}

// Expands kFloatGroups groups of weights a few columns at a time and multiplies them with all rows of
// the piece: per output one accumulator walks the columns, sum = fma(weight, input, sum).
template <typename Ops>
void multiply_floats(DType dtype, const LinearPiece& piece) {
  constexpr int kVectorsPerGroup = kGroupRows / Ops::kLanes;
  alignas(64) ExpandedWeights weights;
  alignas(64) float sums[kFloatRows][kExpandedRows];
  const int num_rows = piece.last_row - piece.first_row;
  for (int group = 0; group < piece.num_groups; group += kFloatGroups) {
    const int num_groups = piece.num_groups - group < kFloatGroups ? piece.num_groups - group
                                                                   : kFloatGroups;
    const int num_vectors = num_groups * kVectorsPerGroup;
    __builtin_memset(sums, 0, sizeof(float) * kExpandedRows * num_rows);
    if (num_groups < kFloatGroups) __builtin_memset(weights, 0, sizeof weights);
    for (int64_t col = 0; col < piece.cols; col += kExpandedCols) {
      const int64_t last = piece.cols - col < kExpandedCols ? piece.cols : col + kExpandedCols;
      for (int v = 0; v < num_vectors; ++v) {
        expand_vector<Ops>(dtype, piece, group * kVectorsPerGroup + v, col, last,
                           &weights[0][v * Ops::kLanes]);
      }
      accumulate_rows<Ops>(&weights[0][0], last - col,
                           piece.rows + piece.first_row * piece.row_stride + col, piece.row_stride,
                           num_rows, &sums[0][0]);
    }
    for (int row = 0; row < num_rows; ++row) {
      for (int v = 0; v < num_vectors; ++v) {
        finish<Ops>(piece, group * kGroupRows + v * Ops::kLanes, piece.first_row + row,
                    Ops::load(&sums[row][v * Ops::kLanes]));
      }
    }
  }
}

}  // namespace kvi::cpu
