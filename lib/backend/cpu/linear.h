// Matrix products of activations with repacked weights: out[m][n] = sum_k in[m][k] * weight[n][k].
//
// Numeric contract: each output has one accumulator that walks k in block order with fused
// multiply-adds, so its bits depend on the row of inputs and the row of weights only. On the int8
// path all instruction sets give the same bits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/weight_memory.h"
#include "base/thread_pool.h"

namespace kvi::cpu {

// Repacks into memory; the same arrangement serves every instruction set.
std::unique_ptr<Matrix> pack_matrix(const MatrixSource& source, WeightMemory& memory);
uint64_t packed_bytes(DType dtype, int64_t rows, int64_t cols);
uint64_t packing_scratch_bytes(DType dtype, int64_t rows, int64_t cols);

// Row `row` of a matrix as f32 (embedding look-up): the dequantized values, exactly.
void unpack_row(const Matrix& matrix, int64_t row, float* dst);

// Input rows in the form that products read: as they are and, for the int8 path, int8 values with a
// scale and sums per 32 columns. Prepared once, used by several matrices (q, k, v; gate, up). assign()
// and linear() must be given the same isa. Outputs of rows with infinities or NaN are NaN.
class LinearInput {
 public:
  LinearInput(int max_rows, int64_t max_cols, Precision precision);
  ~LinearInput();

  // rows: [num_rows] of cols values, stride values apart. Quantizes in parallel. The f32 rows are not
  // copied: they must stay as they are while products read this input.
  void assign(ThreadPool& pool, Isa isa, const float* rows, int64_t stride, int num_rows,
              int64_t cols);

  struct State;
  const State& state() const { return *state_; }
  uint64_t size_bytes() const;
  // What size_bytes() of such an input would be, without allocating it.
  static uint64_t size_bytes(int max_rows, int64_t max_cols, Precision precision);

 private:
  std::unique_ptr<State> state_;
};

enum class LinearResult { store, add };  // add: out += product (+ bias), for residuals

// bias: [rows of weight] or nullptr. out: [num_rows of input], stride values apart.
void linear(ThreadPool& pool, Isa isa, const Matrix& weight, const LinearInput& input,
            const float* bias, LinearResult result, float* out, int64_t stride);

// Several matrices with the same input in one parallel loop (q, k, v; gate, up).
struct LinearTarget {
  const Matrix* weight;
  const float* bias;
  LinearResult result;
  float* out;
  int64_t stride;
};
void linear(ThreadPool& pool, Isa isa, std::span<const LinearTarget> targets,
            const LinearInput& input);

}  // namespace kvi::cpu
