#include "backend/cpu/packed_matrix.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "backend/cpu/linear.h"
#include "support/random_matrix.h"
#include "support/seed.h"

namespace kvi::cpu {
namespace {

class PackedMatrixTest : public testing::TestWithParam<DType> {
 protected:
  std::mt19937_64 random_{test_seed()};
  WeightMemory memory_;
};

TEST_P(PackedMatrixTest, UnpackedRowsAreTheFilesValuesBitForBit) {
  for (int64_t rows : {1, 15, 16, 17, 50}) {
    for (int64_t blocks : {1, 3, 8}) {
      const int64_t cols = blocks * (dtype_info(GetParam()).block_len == 1
                                         ? 7
                                         : dtype_info(GetParam()).block_len);
      const RandomMatrix matrix(GetParam(), rows, cols, random_);
      const auto packed = pack_matrix(matrix.source(), memory_);
      EXPECT_EQ(packed->rows(), rows);
      EXPECT_EQ(packed->cols(), cols);
      EXPECT_EQ(packed->dtype(), GetParam());
      EXPECT_EQ(packed->size_bytes(), packed_bytes(GetParam(), rows, cols));
      std::vector<float> values(cols);
      for (int64_t row = 0; row < rows; ++row) {
        std::fill(values.begin(), values.end(), NAN);
        unpack_row(*packed, row, values.data());
        const std::vector<float> expected = matrix.row(row);
        ASSERT_EQ(std::memcmp(values.data(), expected.data(), cols * sizeof(float)), 0)
            << "row " << row << " of " << rows << " x " << cols;
      }
    }
  }
}

// Factors of six bits are widened to bytes.
TEST_P(PackedMatrixTest, WholeGroupsTakeHardlyMoreMemoryThanTheFile) {
  EXPECT_LE(packed_bytes(GetParam(), 160, 2048), 160 * row_bytes(GetParam(), 2048) * 104 / 100);
}

TEST_P(PackedMatrixTest, PullsWholeGroupsAndNoMoreThanItsScratch) {
  const RandomMatrix matrix(GetParam(), 4000, 512, random_);
  const MatrixSource whole = matrix.source();
  MatrixSource source = whole;
  int64_t next = 0;
  source.read_rows = [&](int64_t first, int64_t n, std::span<std::byte> dst) {
    EXPECT_EQ(first, next);
    EXPECT_EQ(first % 16, 0);
    EXPECT_LE(dst.size(), packing_scratch_bytes(GetParam(), 4000, 512));
    next = first + n;
    whole.read_rows(first, n, dst);
  };
  pack_matrix(source, memory_);
  EXPECT_EQ(next, 4000);
}

TEST_P(PackedMatrixTest, AFailureOfTheSourceGoesToTheCaller) {
  MatrixSource source = RandomMatrix(GetParam(), 32, 512, random_).source();
  source.read_rows = [](int64_t, int64_t, std::span<std::byte>) {
    throw std::runtime_error("no such rows");
  };
  EXPECT_THROW(pack_matrix(source, memory_), std::runtime_error);
}

TEST(WeightMemoryTest, PiecesAreZeroAlignedApartAndOutliveTheirSource) {
  std::vector<std::shared_ptr<std::byte>> pieces;
  const uint64_t sizes[] = {1, 64, 1000, 3 << 20, 9 << 20, 7 << 20, 40 << 20, 31, 7 << 20, 5 << 20};
  {
    WeightMemory memory;
    for (uint64_t size : sizes) pieces.push_back(memory.allocate(size));
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces[i].get()) % 64, 0u);
    std::byte any{};
    for (uint64_t at = 0; at < sizes[i]; ++at) any |= pieces[i].get()[at];
    EXPECT_EQ(any, std::byte{0}) << "piece " << i << " shares memory with another";
    std::memset(pieces[i].get(), 0xff, sizes[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(, PackedMatrixTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return dtype_name(info.param); });

}  // namespace
}  // namespace kvi::cpu
