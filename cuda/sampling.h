// Parameters of sampling (sampling.cu). Plain C++: both sides include it.
#pragma once

#include <cstdint>

namespace kvi::cuda {

constexpr int kSampleThreads = 1024;
constexpr int kSampleCandidates =
    4096;  // held in shared memory; more are read from the logits again and again

// What is done to a token's logit first: plus bias; over repetition where positive, times it else; minus penalty.
struct SampleEdit {
  int32_t token;
  float bias, repetition, penalty;
};

struct SampleRow {
  double unit;        // the random number, in [0, 1)
  float temperature;  // 0: the largest logit
  float top_p, min_p;
  int32_t top_k;  // 0: all
  int32_t first_edit, num_edits;
};

struct SampleParams {
  float* logits;            // [grid, vocab_size]; edited
  const SampleRow* rows;    // [grid]
  const SampleEdit* edits;  // of all rows; of one row for different tokens
  int32_t* tokens;          // [grid]; -1: no logit is a number above -infinity
  int32_t vocab_size;
};

constexpr int kSampleSharedBytes = kSampleCandidates * 8;

}  // namespace kvi::cuda
