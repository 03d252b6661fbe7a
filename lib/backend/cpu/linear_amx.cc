// Product kernels for AMX-INT8: tiles for 16 input rows and more, AVX-512 VNNI for fewer.
#include "backend/cpu/linear_avx512_ops.h"

namespace kvi::cpu {
namespace {

constexpr int kTileLen = 16;   // rows of a tile of inputs, and of sums
constexpr int kMaxPanels = 8;  // multiplied with one expansion of the weights

// Tile numbers must be literals. Weights of two groups, then inputs and sums of two panels in turn.
#define KVI_WEIGHTS_0 0
#define KVI_WEIGHTS_1 1
#define KVI_INPUTS_EVEN 2
#define KVI_INPUTS_ODD 3
#define KVI_SUMS_EVEN_0 4
#define KVI_SUMS_EVEN_1 5
#define KVI_SUMS_ODD_0 6
#define KVI_SUMS_ODD_1 7

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t num_rows[16] = {};

  // Weights: [run / 4][16 rows][4]; inputs: [16][run]; sums: int32 [16 inputs][16 rows].
  explicit TileConfig(int run_len) {
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_weights = tile <= KVI_WEIGHTS_1,
                 is_inputs = !is_weights && tile <= KVI_INPUTS_ODD;
      row_bytes[tile] = static_cast<uint16_t>(is_inputs ? run_len : 64);
      num_rows[tile] = static_cast<uint8_t>(is_weights ? run_len / 4 : kTileLen);
    }
  }
};

// The intrinsics do not tell the compiler that they read memory.
KVI_INLINE void publish_stores() { __asm__ volatile("" ::: "memory"); }

using ExpandedRun = uint8_t[kGroupsPerTile][8][64];
using TileSums = int32_t[kGroupsPerTile][kTileLen][16];

// The codes of one run of equal scale as signed bytes, less the zero point.
template <PackedFormat format>
KVI_INLINE void expand_run(const std::byte* const (&codes)[kGroupsPerTile], int run,
                           ExpandedRun& dst) {
  constexpr int kVectorsPerRun = format.scale_len / 4;
  unroll<kGroupsPerTile>(KVI_UNROLL(g) {
    unroll<8>(KVI_UNROLL(j) {
      if (j.value / kVectorsPerRun != run) return;
      __m512i bytes = load_codes<Avx512, format, decltype(j)::value>(codes[g.value]);
      if constexpr (format.zero_point != 0) {
        bytes = _mm512_sub_epi8(bytes, _mm512_set1_epi8(static_cast<char>(format.zero_point)));
      }
      _mm512_storeu_si512(dst[g.value][j.value % kVectorsPerRun], bytes);
    });
  });
}

// sum = fma(dot, scale * input scale, sum), then the min: the arithmetic of multiply_tile.
template <PackedFormat format>
KVI_INLINE void add_scaled(const TileSums& dots, const Scales<Avx512> (&scales)[kGroupsPerTile],
                           const std::byte* fields, int sum_field, int num_rows,
                           float (*sums)[kGroupsPerTile * 16]) {
  for (int row = 0; row < num_rows; ++row) {
    const __m512 input_scale = Avx512::broadcast(fields +
                                                 (BlockFields::kScale * num_rows + row) * 4);
    unroll<kGroupsPerTile>(KVI_UNROLL(g) {
      float* at = sums[row] + g.value * 16;
      const __m512i dot = _mm512_loadu_si512(dots[g.value][row]);
      __m512 sum = Avx512::fma(Avx512::to_float(dot),
                               Avx512::mul(scales[g.value].scale, input_scale), Avx512::load(at));
      if constexpr (format.has_min) {
        const int field = BlockFields::kScaledSum + sum_field;
        sum = Avx512::fma(scales[g.value].min,
                          Avx512::broadcast(fields + (field * num_rows + row) * 4), sum);
      }
      Avx512::store(at, sum);
    });
  }
}

struct Panel {
  int first_row, num_rows;
  const std::byte* block;  // at the block that is being multiplied
};

// Two groups of weights times up to kMaxPanels panels.
template <PackedFormat format>
void multiply_panels(const LinearPiece& piece, int group, int first_panel, int num_panels) {
  constexpr int kRunsPerBlock = kBlockLen / format.scale_len;
  constexpr int kBlocksPerUnit = format.unit_len() / kBlockLen;
  const int64_t num_blocks = piece.cols / kBlockLen;

  Panel panels[kMaxPanels];
  for (int i = 0; i < num_panels; ++i) {
    const int first = piece.split.first_row(first_panel + i);
    panels[i] = {first, piece.split.first_row(first_panel + i + 1) - first,
                 piece.panels + first * num_blocks * BlockFields::kRowBytes};
  }
  const std::byte* codes[kGroupsPerTile];
  const std::byte* scales[kGroupsPerTile];
  for (int g = 0; g < kGroupsPerTile; ++g) {
    codes[g] = piece.groups + (group + g) * piece.group_bytes;
    scales[g] = codes[g] + piece.scales_offset;
  }
  alignas(64) float sums[kMaxPanels][kTileLen][kGroupsPerTile * 16];
  __builtin_memset(sums, 0, sizeof(sums[0]) * static_cast<size_t>(num_panels));
  alignas(64) ExpandedRun weights;
  alignas(64) TileSums even, odd;

  for (int64_t block = 0; block < num_blocks; ++block) {
    const int block_of_unit = static_cast<int>(block % kBlocksPerUnit);
    for (int run = 0; run < kRunsPerBlock; ++run) {
      const int sum_field = kRunsPerBlock == 1 ? 0 : 1 + run;
      Scales<Avx512> scale[kGroupsPerTile];
      unroll<kGroupsPerTile>(KVI_UNROLL(g) {
        scale[g.value] = load_scales<Avx512, format>(
            load_unit_scales<Avx512, format>(scales[g.value], 0), scales[g.value], 0,
            block_of_unit * kRunsPerBlock + run);
      });
      expand_run<format>(codes, run, weights);
      publish_stores();
      _tile_loadd(KVI_WEIGHTS_0, weights[0], 64);
      _tile_loadd(KVI_WEIGHTS_1, weights[1], 64);
      // A panel of fewer than 16 rows gives sums for what follows it, too: nobody reads them.
      for (int i = 0; i < num_panels; i += 2) {
        const bool has_odd = i + 1 < num_panels;
        _tile_loadd(KVI_INPUTS_EVEN, panels[i].block + run * format.scale_len, kBlockLen);
        _tile_zero(KVI_SUMS_EVEN_0);
        _tile_zero(KVI_SUMS_EVEN_1);
        _tile_dpbssd(KVI_SUMS_EVEN_0, KVI_INPUTS_EVEN, KVI_WEIGHTS_0);
        _tile_dpbssd(KVI_SUMS_EVEN_1, KVI_INPUTS_EVEN, KVI_WEIGHTS_1);
        if (has_odd) {
          _tile_loadd(KVI_INPUTS_ODD, panels[i + 1].block + run * format.scale_len, kBlockLen);
          _tile_zero(KVI_SUMS_ODD_0);
          _tile_zero(KVI_SUMS_ODD_1);
          _tile_dpbssd(KVI_SUMS_ODD_0, KVI_INPUTS_ODD, KVI_WEIGHTS_0);
          _tile_dpbssd(KVI_SUMS_ODD_1, KVI_INPUTS_ODD, KVI_WEIGHTS_1);
        }
        _tile_stored(KVI_SUMS_EVEN_0, even[0], 64);
        _tile_stored(KVI_SUMS_EVEN_1, even[1], 64);
        const Panel& panel = panels[i];
        add_scaled<format>(even, scale, panel.block + panel.num_rows * kBlockLen, sum_field,
                           panel.num_rows, sums[i]);
        if (has_odd) {
          _tile_stored(KVI_SUMS_ODD_0, odd[0], 64);
          _tile_stored(KVI_SUMS_ODD_1, odd[1], 64);
          const Panel& next = panels[i + 1];
          add_scaled<format>(odd, scale, next.block + next.num_rows * kBlockLen, sum_field,
                             next.num_rows, sums[i + 1]);
        }
      }
    }
    for (int i = 0; i < num_panels; ++i) {
      panels[i].block += panels[i].num_rows * BlockFields::kRowBytes;
    }
    for (int g = 0; g < kGroupsPerTile; ++g) {
      codes[g] += format.block_bytes();
      if (block_of_unit == kBlocksPerUnit - 1) scales[g] += format.unit_bytes();
    }
  }
  for (int i = 0; i < num_panels; ++i) {
    for (int row = 0; row < panels[i].num_rows; ++row) {
      for (int g = 0; g < kGroupsPerTile; ++g) {
        finish<Avx512>(piece, (group + g) * kGroupRows, panels[i].first_row + row,
                       Avx512::load(sums[i][row] + g * 16));
      }
    }
  }
}

void multiply_wide_panels(DType dtype, const LinearPiece& piece) {
  for_quantized_type(
      dtype, KVI_UNROLL(type) {
        constexpr PackedFormat kFormat = packed_format(static_cast<DType>(decltype(type)::value));
        const TileConfig config(kFormat.scale_len);
        publish_stores();
        _tile_loadconfig(&config);
        for (int group = 0; group < piece.num_groups; group += kGroupsPerTile) {
          for (int panel = piece.first_panel; panel < piece.last_panel; panel += kMaxPanels) {
            const int left = piece.last_panel - panel;
            multiply_panels<kFormat>(piece, group, panel, left < kMaxPanels ? left : kMaxPanels);
          }
        }
        _tile_release();
      });
}

void multiply_codes_by_tiles(DType dtype, const LinearPiece& piece) {
  if (piece.split.num_rows >= kTileLen) {
    multiply_wide_panels(dtype, piece);
  } else {
    kAvx512Kernels.multiply_codes(dtype, piece);
  }
}

// The rest is that of AVX-512.
void quantize(const float* rows, int64_t stride, int num_rows, int64_t cols, std::byte* panel) {
  kAvx512Kernels.quantize_panel(rows, stride, num_rows, cols, panel);
}
void multiply_float_inputs(DType dtype, const LinearPiece& piece) {
  kAvx512Kernels.multiply_floats(dtype, piece);
}

}  // namespace

const LinearKernels kAmxKernels = {
    .panel_len = Avx512::kTileRows,
    .wide_panel_len = kTileLen,
    .quantize_panel = quantize,
    .multiply_codes = multiply_codes_by_tiles,
    .multiply_floats = multiply_float_inputs,
};

}  // namespace kvi::cpu
