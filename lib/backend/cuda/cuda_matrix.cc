#include "backend/cuda/cuda_matrix.h"

#include <algorithm>

#include "backend/cuda/repack.h"
#include "tensor/dtype.h"

namespace kvi::cuda {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{8} << 20;  // of a matrix, on their way from the file

// Whole tiles, so that each piece is packed by itself.
int64_t rows_per_piece(uint64_t row_size, int64_t rows) {
  const auto fit = static_cast<int64_t>(kPieceBytes / std::max<uint64_t>(row_size, 1));
  return std::min((std::max<int64_t>(fit, 1) + kTileRows - 1) / kTileRows * kTileRows,
                  std::max<int64_t>(rows, 1));
}

uint64_t tiles_of(int64_t rows) {
  return static_cast<uint64_t>((rows + kTileRows - 1) / kTileRows);
}

}  // namespace

uint64_t CudaMatrix::bytes(DType dtype, int64_t rows, int64_t cols) {
  if (is_packed_type(dtype, cols)) return packed_tile_bytes(dtype, cols) * tiles_of(rows);
  return row_bytes(dtype, cols) * static_cast<uint64_t>(rows);
}

uint64_t CudaMatrix::load_scratch_bytes(DType dtype, int64_t rows, int64_t cols) {
  const uint64_t row_size = row_bytes(dtype, cols);
  const int64_t piece_rows = rows_per_piece(row_size, rows);
  const uint64_t packed = is_packed_type(dtype, cols)
                              ? packed_tile_bytes(dtype, cols) * tiles_of(piece_rows)
                              : 0;
  return row_size * static_cast<uint64_t>(piece_rows) + packed;
}

CudaMatrix::CudaMatrix(const std::shared_ptr<const Device>& device, const MatrixSource& source)
    : rows_(source.rows),
      cols_(source.cols),
      dtype_(source.dtype),
      is_packed_(is_packed_type(source.dtype, source.cols)),
      buffer_(device, bytes(source.dtype, source.rows, source.cols), "weights") {
  const uint64_t row_size = row_bytes(dtype_, cols_);
  const int64_t piece_rows = rows_per_piece(row_size, rows_);
  const uint64_t tile_bytes = is_packed_ ? packed_tile_bytes(dtype_, cols_) : 0;
  std::vector<std::byte> piece(row_size * static_cast<uint64_t>(piece_rows));
  std::vector<std::byte> packed(tile_bytes * tiles_of(piece_rows));
  for (int64_t first = 0; first < rows_; first += piece_rows) {
    const int64_t count = std::min(piece_rows, rows_ - first);
    const auto stored = std::span(piece).first(row_size * static_cast<uint64_t>(count));
    source.read_rows(first, count, stored);
    if (!is_packed_) {
      copy_to_device(*device, buffer_.data() + row_size * static_cast<uint64_t>(first), stored);
      continue;
    }
    for (int64_t row = 0; row < count; row += kTileRows) {
      const int num_rows = static_cast<int>(std::min<int64_t>(kTileRows, count - row));
      pack_tile(dtype_, cols_,
                stored.subspan(row_size * static_cast<uint64_t>(row),
                               row_size * static_cast<uint64_t>(num_rows)),
                num_rows,
                std::span(packed).subspan(tile_bytes * (static_cast<uint64_t>(row) / kTileRows),
                                          tile_bytes));
    }
    copy_to_device(*device,
                   buffer_.data() + tile_bytes * (static_cast<uint64_t>(first) / kTileRows),
                   std::span(packed).first(tile_bytes * tiles_of(count)));
  }
}

MatrixView CudaMatrix::view() const {
  return {reinterpret_cast<const uint8_t*>(buffer_.data()),
          static_cast<int64_t>(row_bytes(dtype_, cols_)), format_of(dtype_), is_packed_};
}

CudaVector::CudaVector(const std::shared_ptr<const Device>& device, std::span<const float> values)
    : size_(static_cast<int64_t>(values.size())), buffer_(device, values.size_bytes(), "weights") {
  copy_to_device(*device, buffer_.data(), std::as_bytes(values));
}

}  // namespace kvi::cuda
