#include "backend/cpu/linear.h"

#include <algorithm>
#include <new>
#include <vector>

#include "backend/cpu/linear_kernels.h"
#include "backend/cpu/packed_matrix.h"
#include "base/error.h"

namespace kvi::cpu {
namespace {

const LinearKernels& kernels_of(Isa isa) {
  switch (isa) {
    case Isa::scalar: break;
#if defined(__x86_64__)
    case Isa::avx2: return kAvx2Kernels;
    case Isa::avx_vnni: return kAvxVnniKernels;
    case Isa::avx512_vnni: return kAvx512Kernels;
    case Isa::amx_int8: return kAmxKernels;
#else
    default: break;
#endif
  }
  return kScalarKernels;
}

PanelSplit split_rows(const LinearKernels& kernels, int num_rows) {
  const int len = num_rows >= kernels.wide_panel_len ? kernels.wide_panel_len : kernels.panel_len;
  return {num_rows, (num_rows + len - 1) / len};
}

constexpr int64_t kPanelSlack = 1024;  // wide kernels may read past the last panel

int64_t panels_bytes(int max_rows, int64_t max_cols, Precision precision) {
  if (precision != Precision::int8_activations) return 0;
  return max_rows * (max_cols / kBlockLen) * BlockFields::kRowBytes + kPanelSlack;
}

}  // namespace

struct LinearInput::State {
  Precision precision = Precision::int8_activations;
  int max_rows = 0;
  int64_t max_cols = 0;
  int num_rows = 0;
  int64_t cols = 0;
  const float* rows = nullptr;
  int64_t stride = 0;
  PanelSplit split;
  std::unique_ptr<std::byte[]> panels;  // int8 path only
  int64_t panels_bytes = 0;
};

LinearInput::LinearInput(int max_rows, int64_t max_cols, Precision precision)
    : state_(std::make_unique<State>()) {
  state_->precision = precision;
  state_->max_rows = max_rows;
  state_->max_cols = max_cols;
  state_->panels_bytes = panels_bytes(max_rows, max_cols, precision);
  state_->panels = std::make_unique<std::byte[]>(static_cast<size_t>(state_->panels_bytes));
}

LinearInput::~LinearInput() = default;

uint64_t LinearInput::size_bytes() const { return static_cast<uint64_t>(state_->panels_bytes); }

uint64_t LinearInput::size_bytes(int max_rows, int64_t max_cols, Precision precision) {
  return static_cast<uint64_t>(panels_bytes(max_rows, max_cols, precision));
}

void LinearInput::assign(ThreadPool& pool, Isa isa, const float* rows, int64_t stride, int num_rows,
                         int64_t cols) {
  State& state = *state_;
  KVI_CHECK(num_rows >= 0 && num_rows <= state.max_rows && cols <= state.max_cols);
  state.num_rows = num_rows;
  state.cols = cols;
  state.rows = rows;
  state.stride = stride;
  // A row that is not whole blocks can only meet plain weights.
  if (state.precision != Precision::int8_activations || cols % kBlockLen != 0 || num_rows == 0)
    return;
  const LinearKernels& kernels = kernels_of(isa);
  state.split = split_rows(kernels, num_rows);
  const int64_t row_bytes = cols / kBlockLen * BlockFields::kRowBytes;
  pool.run(state.split.num_panels, [&](int64_t piece, int) {
    const int panel = static_cast<int>(piece);
    const int first = state.split.first_row(panel);
    kernels.quantize_panel(rows + first * stride, stride, state.split.first_row(panel + 1) - first,
                           cols, state.panels.get() + first * row_bytes);
  });
}

namespace {

// Weights of a piece: enough to hide the cost of claiming it, few enough that a preempted thread
// delays the loop little.
constexpr int64_t kPieceBytes = 256 << 10;
constexpr int kPiecesPerThread = 8;
constexpr int kMinRowsPerPiece = 48;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How one target's product is cut: runs of groups times runs of input rows.
struct Cut {
  const PackedMatrix* weight;
  bool floats;  // f32 inputs
  int64_t groups_per_piece;
  int64_t num_group_runs;
  int64_t num_row_runs;

  int64_t num_pieces() const { return num_group_runs * num_row_runs; }
};

Cut cut_target(const LinearInput::State& input, const PackedMatrix& weight, int64_t wanted_pieces) {
  Cut cut;
  cut.weight = &weight;
  cut.floats = input.precision == Precision::f32_activations ||
               packed_format(weight.dtype()).is_plain();
  const PackedShape& shape = weight.shape();
  const int64_t tile = cut.floats ? kFloatGroups : kGroupsPerTile;
  const int64_t by_bytes = kPieceBytes / std::max<int64_t>(shape.group_bytes, 1);
  const int64_t by_count = ceil_div(shape.num_groups, std::max<int64_t>(wanted_pieces, 1));
  cut.groups_per_piece = ceil_div(std::max<int64_t>(std::min(by_bytes, by_count), 1), tile) * tile;
  cut.num_group_runs = ceil_div(shape.num_groups, cut.groups_per_piece);
  if (cut.floats) {
    cut.num_row_runs = ceil_div(input.num_rows, kFloatRows);
  } else {
    const int64_t missing = ceil_div(wanted_pieces, std::max<int64_t>(cut.num_group_runs, 1));
    cut.num_row_runs = std::clamp<int64_t>(input.num_rows / kMinRowsPerPiece, 1, missing);
  }
  return cut;
}

void run_piece(const LinearKernels& kernels, const LinearInput::State& input, const Cut& cut,
               const LinearTarget& target, int64_t index) {
  const PackedMatrix& weight = *cut.weight;
  const PackedShape& shape = weight.shape();
  const int64_t first_group = index / cut.num_row_runs * cut.groups_per_piece;
  const int64_t num_groups = std::min(cut.groups_per_piece, shape.num_groups - first_group);
  const int64_t first_output = first_group * kGroupRows;
  const int64_t row_run = index % cut.num_row_runs;

  LinearPiece piece;
  piece.groups = weight.group(first_group);
  piece.group_bytes = shape.group_bytes;
  piece.scales_offset = shape.scales_offset;
  piece.num_groups = static_cast<int>(num_groups);
  piece.num_outputs = static_cast<int>(
      std::min(num_groups * kGroupRows, weight.rows() - first_output));
  piece.cols = weight.cols();
  piece.out = target.out + first_output;
  piece.out_stride = target.stride;
  piece.bias = target.bias == nullptr ? nullptr : target.bias + first_output;
  piece.add = target.result == LinearResult::add;
  if (cut.floats) {
    piece.rows = input.rows;
    piece.row_stride = input.stride;
    piece.first_row = static_cast<int>(row_run) * kFloatRows;
    piece.last_row = std::min(piece.first_row + kFloatRows, input.num_rows);
    kernels.multiply_floats(weight.dtype(), piece);
  } else {
    piece.panels = input.panels.get();
    piece.split = input.split;
    piece.first_panel = static_cast<int>(input.split.num_panels * row_run / cut.num_row_runs);
    piece.last_panel = static_cast<int>(input.split.num_panels * (row_run + 1) / cut.num_row_runs);
    kernels.multiply_codes(weight.dtype(), piece);
  }
}

}  // namespace

void linear(ThreadPool& pool, Isa isa, std::span<const LinearTarget> targets,
            const LinearInput& input) {
  constexpr size_t kMaxTargets = 8;
  KVI_CHECK(targets.size() <= kMaxTargets);
  const LinearInput::State& state = input.state();
  if (state.num_rows == 0) return;
  const LinearKernels& kernels = kernels_of(isa);

  int64_t total_groups = 0;
  for (const LinearTarget& target : targets) {
    total_groups += static_cast<const PackedMatrix*>(target.weight)->shape().num_groups;
  }
  const int64_t wanted_pieces = kPiecesPerThread * pool.num_threads();
  Cut cuts[kMaxTargets];
  int64_t num_pieces = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    const PackedMatrix& weight = *static_cast<const PackedMatrix*>(targets[i].weight);
    KVI_CHECK(weight.cols() == state.cols);
    cuts[i] = cut_target(
        state, weight,
        ceil_div(wanted_pieces * weight.shape().num_groups, std::max<int64_t>(total_groups, 1)));
    num_pieces += cuts[i].num_pieces();
  }
  pool.run(num_pieces, [&](int64_t piece, int) {
    size_t i = 0;
    while (piece >= cuts[i].num_pieces()) piece -= cuts[i++].num_pieces();
    run_piece(kernels, state, cuts[i], targets[i], piece);
  });
}

void linear(ThreadPool& pool, Isa isa, const Matrix& weight, const LinearInput& input,
            const float* bias, LinearResult result, float* out, int64_t stride) {
  const LinearTarget target = {&weight, bias, result, out, stride};
  linear(pool, isa, std::span(&target, 1), input);
}

}  // namespace kvi::cpu
