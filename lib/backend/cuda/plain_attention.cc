#include "backend/cuda/plain_attention.h"

#include <bit>

#include "backend/cuda/cuda_matrix.h"
#include "base/error.h"

namespace kvi::cuda {
namespace {

Kernel attention_kernel(Format format) {
  switch (format) {
    case Format::f16: return Kernel::attention_f16;
    case Format::bf16: return Kernel::attention_bf16;
    default: return Kernel::attention_f32;
  }
}

}  // namespace

NormWeights weights_of(const Norm& norm) {
  const NormForm form = norm.kind == NormKind::none  ? NormForm::none
                        : norm.kind == NormKind::rms ? NormForm::rms
                                                     : NormForm::layer;
  return {form, norm.eps, values_of(norm.weight), values_of(norm.bias)};
}

PagePlane place_of(const Plane& plane) {
  KVI_CHECK(plane.dim_stride == row_bytes(plane.dtype, 1));
  return {plane.offset, plane.head_stride, plane.slot_stride};
}

int page_shift(const PageLayout& layout) {
  return std::countr_zero(static_cast<unsigned>(layout.page_len));
}

void finish_heads(Launcher& launcher, const AttentionWeights& weights, const KvSegment& kv,
                  const PageTables& tables, const int32_t* positions, const float* angles,
                  const ProjectedHeads& heads, int num_rows) {
  const FinishHeadsParams params = {
      .queries = heads.queries,
      .keys = heads.keys,
      .values = heads.values,
      .num_heads = weights.num_heads,
      .num_kv_heads = weights.num_kv_heads,
      .head_dim = weights.head_dim,
      .q_norm = weights_of(weights.q_norm),
      .k_norm = weights_of(weights.k_norm),
      .angles = weights.rope != nullptr ? angles : nullptr,
      .rotary_dim = weights.rope != nullptr ? weights.rope->rotary_dim : 0,
      .interleaved = weights.rope != nullptr && weights.rope->pairs == RopePairs::interleaved,
      .positions = positions,
      .tables = tables,
      .pages = reinterpret_cast<uint8_t*>(kv.pages),
      .page_bytes = kv.layout->page_bytes,
      .page_shift = page_shift(*kv.layout),
      .key = place_of(*kv.key),
      .value = place_of(*kv.value),
      .format = format_of(kv.key->dtype)};
  launcher.launch(Kernel::finish_heads,
                  {.x = static_cast<uint32_t>(num_rows),
                   .y = static_cast<uint32_t>(weights.num_heads + 2 * weights.num_kv_heads),
                   .num_threads = kHeadThreads,
                   .shared_bytes = static_cast<uint32_t>(weights.head_dim * sizeof(float))},
                  params);
}

void attend(Launcher& launcher, const AttentionWeights& weights,
            std::span<const KvSegment> segments, std::span<const PageTables> tables,
            const int32_t* positions, const float* queries, float* out, int num_rows) {
  KVI_CHECK(!segments.empty() && segments.size() <= kMostSegments);
  KVI_CHECK(weights.head_dim <= kMostHeadDim);
  AttentionParams params = {.queries = queries,
                            .out = out,
                            .positions = positions,
                            .num_heads = weights.num_heads,
                            .num_kv_heads = weights.num_kv_heads,
                            .head_dim = weights.head_dim,
                            .softmax_scale = weights.softmax_scale,
                            .softcap = weights.logit_softcap,
                            .num_segments = static_cast<int32_t>(segments.size()),
                            .segments = {}};
  const DType dtype = segments.front().key->dtype;
  for (size_t i = 0; i < segments.size(); ++i) {
    const KvSegment& segment = segments[i];
    KVI_CHECK(segment.key->dtype == dtype && segment.value->dtype == dtype);
    params.segments[i] = {.pages = reinterpret_cast<const uint8_t*>(segment.pages),
                          .page_bytes = segment.layout->page_bytes,
                          .tables = tables[i],
                          .key = place_of(*segment.key),
                          .value = place_of(*segment.value),
                          .page_shift = page_shift(*segment.layout),
                          .window = segment.window};
  }
  launcher.launch(attention_kernel(format_of(dtype)),
                  {.x = static_cast<uint32_t>(num_rows),
                   .y = static_cast<uint32_t>(weights.num_heads),
                   .num_threads = kAttentionThreads,
                   .shared_bytes = static_cast<uint32_t>(attention_shared_bytes(weights.head_dim))},
                  params);
}

}  // namespace kvi::cuda
