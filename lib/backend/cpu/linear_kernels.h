// What linear.cc asks of the kernels of one instruction set, and the form of quantized input rows.
//
// Kernels are pure functions of their arguments and may run on any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

#define KVI_INLINE inline __attribute__((always_inline))

namespace kvi::cpu {

// Quantized input rows lie in panels of a few rows, so that a kernel walks one stream. Per block of 32
// columns a panel of n rows holds: int8 values [n][32], then the fields below [n] each, f32 or int32.
struct BlockFields {
  static constexpr int kScale = 0;            // f32: value = scale * int8
  static constexpr int kNegatedSum = 1;       // int32: -(sum of the int8 values)
  static constexpr int kNegatedHalfSums = 2;  // of columns 0-15, of 16-31
  static constexpr int kScaledSum = 4;        // f32: scale * sum
  static constexpr int kScaledHalfSums = 5;
  static constexpr int kNumFields = 7;
  static constexpr int kRowBytes = 32 + kNumFields * 4;  // of one row in one block
};

// num_rows rows in the fewest panels of at most panel_len, as equal as can be.
struct PanelSplit {
  int num_rows = 0;
  int num_panels = 0;

  KVI_INLINE int first_row(int panel) const {
    const int longer = num_rows % num_panels;
    return panel * (num_rows / num_panels) + (panel < longer ? panel : longer);
  }
};

// A run of weight groups times a run of input rows.
struct LinearPiece {
  const std::byte* groups = nullptr;  // the first
  int64_t group_bytes = 0, scales_offset = 0;
  int num_groups = 0;
  int num_outputs = 0;  // rows of these groups that exist: at most 16 * num_groups
  int64_t cols = 0;

  // Quantized inputs: panels [first_panel, last_panel) of all.
  const std::byte* panels = nullptr;
  PanelSplit split;
  int first_panel = 0, last_panel = 0;
  // Plain inputs: rows [first_row, last_row) of all.
  const float* rows = nullptr;
  int64_t row_stride = 0;
  int first_row = 0, last_row = 0;

  float* out = nullptr;  // of input row 0 and the first group's first row
  int64_t out_stride = 0;
  const float* bias = nullptr;  // of the first group's first row
  bool add = false;             // to what out holds
};

struct LinearKernels {
  int panel_len;       // rows of a panel at most,
  int wide_panel_len;  // where there are at least this many rows

  // One panel: num_rows rows of cols (a multiple of 32) values.
  void (*quantize_panel)(const float* rows, int64_t stride, int num_rows, int64_t cols,
                         std::byte* panel);
  void (*multiply_codes)(DType dtype, const LinearPiece& piece);   // int8 inputs, quantized weights
  void (*multiply_floats)(DType dtype, const LinearPiece& piece);  // f32 inputs, any weights
};

// multiply_floats takes at most this many input rows, and works on tiles of this many groups.
inline constexpr int kFloatRows = 64;
inline constexpr int kFloatGroups = 4;

extern const LinearKernels kScalarKernels;
#if defined(__x86_64__)
extern const LinearKernels kAvx2Kernels;
extern const LinearKernels kAvxVnniKernels;
extern const LinearKernels kAvx512Kernels;
extern const LinearKernels kAmxKernels;
#endif

}  // namespace kvi::cpu
