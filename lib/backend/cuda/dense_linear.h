// Matrix products with many tokens: cuBLASLt on 16-bit weights, to which packed ones are expanded first, a part of their
// rows at a time.
//
// A first product of a shape is timed (cublas_lt.h); none may be part of a graph. Not thread-safe; the executor's.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"
#include "backend/cuda/cublas_lt.h"
#include "backend/cuda/launcher.h"
#include "backend/scratch.h"
#include "cuda/stream_linear.h"

namespace kvi::cuda {

class DenseLinear {
 public:
  // Fewer tokens are faster with the streamed kernels, by timing on an H100: of packed weights these read a fifth of the
  // bytes that expanding moves.
  static constexpr int kLeastTokens = 17, kLeastTokensOfPacked = 225;

  struct Room {
    Room(const ExecutorShape& shape,
         Scratch& scratch);          // empty where no step has kLeastTokens rows
    std::byte* workspace = nullptr;  // CublasLt::kWorkspaceBytes
    std::byte* expanded = nullptr;   // kExpandedBytes
    uint16_t* gate = nullptr;        // [max_rows, ffn_len]
  };
  // launcher: outlives it.
  DenseLinear(std::shared_ptr<const Device> device, Launcher& launcher, const Room& room,
              AlgorithmChoice choice = AlgorithmChoice::timed);

  // Whether multiply is the way for so many tokens of this weight: there is cuBLASLt, and it takes the shape.
  bool serves(const Matrix& weight, int num_tokens) const;

  // out = x * weight^T + bias, as the output says. False: not done, and out is as it was.
  bool multiply(const Linear& linear, const uint16_t* x, int num_tokens, void* out,
                StreamOutput output);
  // out = activation(gate x) * (up x), f16 or bf16 as x. Requires: a gate; both weights served, of equal shape and input.
  // False: not done.
  bool multiply_gated(const MlpWeights& weights, const uint16_t* x, int num_tokens, uint16_t* out);

 private:
  static constexpr uint64_t kExpandedBytes = uint64_t{128} << 20;

  Launcher& launcher_;
  const std::unique_ptr<CublasLt> cublas_;
  const Room room_;
};

}  // namespace kvi::cuda
