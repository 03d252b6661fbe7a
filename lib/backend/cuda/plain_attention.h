// The plain kernels around attention, as the exact path runs them and the fast path where it has no other.
//
// Thread-safe: free functions that launch.
#pragma once

#include <span>

#include "backend/backend.h"
#include "backend/cuda/launcher.h"
#include "cuda/attention.h"
#include "cuda/rows.h"

namespace kvi::cuda {

NormWeights weights_of(const Norm& norm);
PagePlane place_of(const Plane& plane);
int page_shift(const PageLayout& layout);

struct ProjectedHeads {
  float* queries;  // [num_rows, num_heads, head_dim]; normed and rotated in place
  const float* keys;
  const float* values;
};
// angles: of the rope, [num_rows, rotary_dim / 2, 2]
void finish_heads(Launcher& launcher, const AttentionWeights& weights, const KvSegment& kv,
                  const PageTables& tables, const int32_t* positions, const float* angles,
                  const ProjectedHeads& heads, int num_rows);

// tables: of each segment. out: as queries, and may be them.
void attend(Launcher& launcher, const AttentionWeights& weights,
            std::span<const KvSegment> segments, std::span<const PageTables> tables,
            const int32_t* positions, const float* queries, float* out, int num_rows);

}  // namespace kvi::cuda
