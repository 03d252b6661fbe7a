#include "backend/cpu/rope_angles.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace kvi::cpu {
namespace {

constexpr int kRowsPerPiece = 16;

void fill_row(const Rope& rope, int position, float* cosines, float* sines) {
  for (int i = 0; i < rope.rotary_dim / 2; ++i) {
    const double angle = position * rope.inverse_frequencies[static_cast<size_t>(i)];
    const float cosine = static_cast<float>(std::cos(angle) * double{rope.attention_factor});
    const float sine = static_cast<float>(std::sin(angle) * double{rope.attention_factor});
    if (rope.pairs == RopePairs::interleaved) {
      cosines[2 * i] = cosines[2 * i + 1] = cosine;
      sines[2 * i] = -sine;
      sines[2 * i + 1] = sine;
    } else {
      cosines[i] = cosine;
      sines[i] = sine;
    }
  }
}

}  // namespace

RopeAngles::RopeAngles(const ExecutorShape& shape, Scratch& scratch)
    : max_head_dim_(shape.head_dim) {
  for (Table& table : tables_) {
    table.rope = nullptr;
    table.cosines = scratch.take<float>(int64_t{shape.max_rows} * max_head_dim_);
    table.sines = scratch.take<float>(int64_t{shape.max_rows} * max_head_dim_);
  }
}

void RopeAngles::begin_step(std::span<const int32_t> positions) {
  positions_ = positions;
  for (Table& table : tables_) table.rope = nullptr;
}

void RopeAngles::prepare(ThreadPool& pool, const Rope& rope) {
  for (const Table& table : tables_) {
    if (table.rope == &rope) return;
  }
  KVI_CHECK(rope.rotary_dim <= max_head_dim_ && rope.rotary_dim % 2 == 0);
  KVI_CHECK(rope.inverse_frequencies.size() == static_cast<size_t>(rope.rotary_dim / 2));
  Table& table = tables_[next_];
  next_ = (next_ + 1) % kTables;
  table.rope = &rope;
  const int num_rows = static_cast<int>(positions_.size());
  pool.run((num_rows + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
    const int first = static_cast<int>(piece) * kRowsPerPiece;
    for (int row = first; row < std::min(num_rows, first + kRowsPerPiece); ++row) {
      const int64_t at = int64_t{row} * rope.rotary_dim;
      fill_row(rope, positions_[static_cast<size_t>(row)], table.cosines + at, table.sines + at);
    }
  });
}

RotaryAngles RopeAngles::at(const Rope& rope, int row) const {
  const Table& table = tables_[0].rope == &rope ? tables_[0] : tables_[1];
  const int64_t at = int64_t{row} * rope.rotary_dim;
  return {table.cosines + at, table.sines + at};
}

}  // namespace kvi::cpu
