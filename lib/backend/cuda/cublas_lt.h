// Large matrix products by cuBLASLt, where the system has it: opened at run time, never linked.
//
// The algorithm for a shape is chosen when the shape is first met; token counts up to the next power of two share the
// choice. Timed, the candidates are run with the L2 cache cold, in memory that is there for that time only: so a first
// product waits for the GPU, and another process may choose, and round, otherwise. Later ones are launches only. None
// may be captured.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/cuda/device.h"
#include "cuda/formats.h"

namespace kvi::cuda {

// out [num_tokens, rows] = x [num_tokens, cols] * weight [rows, cols]^T, or is added to it; sums in f32.
struct DenseProduct {
  Format format;      // of weight and x: f16 or bf16
  Format out_format;  // f32, or as format
  bool adds;          // to out
  int64_t rows, cols;
  int64_t out_stride;  // values from a token's outputs to the next one's
  int num_tokens;
};

enum class AlgorithmChoice {
  timed,
  first,  // what cuBLASLt proposes first: the same in every process
};

class CublasLt {
 public:
  static constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

  virtual ~CublasLt() = default;

  // weight, x, out: aligned to 16 bytes. workspace: kWorkspaceBytes. False: cuBLASLt has nothing for this product, and
  // out is as it was.
  virtual bool multiply(const DenseProduct& product, const void* weight, const void* x, void* out,
                        std::byte* workspace) = 0;
};

// nullptr: there is no cuBLASLt here (of CUDA 12 or 13), or it does not start.
std::unique_ptr<CublasLt> open_cublas_lt(std::shared_ptr<const Device> device,
                                         AlgorithmChoice choice);

}  // namespace kvi::cuda
