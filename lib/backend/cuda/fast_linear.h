// Matrix products of the fast path: 16-bit activations, weights in whatever format, sums in f32.
//
// Formats that the tensor-core kernels have are streamed through them, side by side where they share their input; the
// others widen the input and take the plain kernel. Many rows go through cuBLASLt where it is there, unless launches are
// noted.
//
// Not thread-safe; the executor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cuda/dense_linear.h"
#include "backend/cuda/launcher.h"
#include "backend/scratch.h"
#include "cuda/stream_linear.h"

namespace kvi::cuda {

class FastLinear {
 public:
  struct Product {
    const Linear* linear;
    void* out;  // [num_rows, the weight's rows], as the output says
  };

  // What the plain kernels need of a few rows at a time: their input in f32, and what becomes of gates.
  struct Room {
    Room(const ExecutorShape& shape, Scratch& scratch);
    float* widened;  // [kPlainRows, the longest input]
    float* gate;     // [kPlainRows, ffn_len]
    float* up;       // as gate
    DenseLinear::Room dense;
  };
  // launcher: outlives it.
  FastLinear(std::shared_ptr<const Device> device, Launcher& launcher, const Room& room);

  // The type of the activations that a weight's product reads.
  static Format input_format(const Matrix& weight);
  static bool is_streamed(const Matrix& weight);
  // Whether cuBLASLt, which cannot be noted, would be the way for so many rows.
  bool is_dense(const Matrix& weight, int num_rows) const {
    return dense_.serves(weight, num_rows);
  }

  // Requires: weights of equal input_format; output is f32 or add_f32.
  void multiply(std::span<const Product> products, const uint16_t* x, int num_rows,
                StreamOutput output);
  void multiply_one(const Linear& linear, const uint16_t* x, int num_rows, float* out,
                    StreamOutput output = StreamOutput::f32) {
    const Product product = {&linear, out};
    multiply({&product, 1}, x, num_rows, output);
  }
  // out = activation(gate x) * (up x), of out_format; without a gate activation(up x).
  void multiply_gated(const MlpWeights& weights, const uint16_t* x, int num_rows, uint16_t* out,
                      Format out_format);

 private:
  void stream(std::span<const Product> products, const uint16_t* x, int num_rows,
              StreamOutput output, StreamGate gate);
  void multiply_plainly(const Product& product, const uint16_t* x, int num_rows,
                        StreamOutput output);

  const std::shared_ptr<const Device> device_;
  Launcher& launcher_;
  const Room room_;
  DenseLinear dense_;
};

}  // namespace kvi::cuda
