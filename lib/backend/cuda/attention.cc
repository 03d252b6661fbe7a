#include "backend/cuda/attention.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "backend/cuda/plain_attention.h"
#include "base/error.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

constexpr int kBlocksOfSm = 2;  // of the decode kernel
constexpr uint64_t kPieceAlignment = 256;

uint64_t aligned(uint64_t num_bytes) {
  return (num_bytes + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
}

bool is_16_bit(DType dtype) { return dtype == DType::F16 || dtype == DType::BF16; }

// Kernels of one kind, by type and head_dim.
#define KVI_KERNELS_OF(kind, head_dim) \
  (bf16 ? Kernel::kind##_bf16_##head_dim : Kernel::kind##_f16_##head_dim)
Kernel decode_kernel(bool bf16, int head_dim) {
  switch (head_dim) {
    case 64: return KVI_KERNELS_OF(attention_decode, 64);
    case 96: return KVI_KERNELS_OF(attention_decode, 96);
    case 128: return KVI_KERNELS_OF(attention_decode, 128);
    default: return KVI_KERNELS_OF(attention_decode, 256);
  }
}
Kernel prefill_kernel(bool bf16, int head_dim) {
  switch (head_dim) {
    case 64: return KVI_KERNELS_OF(attention_prefill, 64);
    case 96: return KVI_KERNELS_OF(attention_prefill, 96);
    case 128: return KVI_KERNELS_OF(attention_prefill, 128);
    default: return KVI_KERNELS_OF(attention_prefill, 256);
  }
}
Kernel group_kernel(bool bf16, int head_dim) {
  return head_dim == 64 ? KVI_KERNELS_OF(attention_wgmma, 64)
                        : KVI_KERNELS_OF(attention_wgmma, 128);
}
#undef KVI_KERNELS_OF

}  // namespace

bool FastAttention::fits(int head_dim) const {
  return has_fast_attention(head_dim) &&
         std::max(decode_shared_bytes(head_dim), prefill_shared_bytes(head_dim)) <=
             device_->info().shared_bytes;
}

bool FastAttention::has_groups(int head_dim) const {
  return device_->info().major == 9 && has_group_attention(head_dim) &&
         group_shared_bytes(head_dim) <= device_->info().shared_bytes;
}

bool FastAttention::serves(const AttentionWeights& weights,
                           std::span<const KvSegment> segments) const {
  if (segments.size() != 1 || !fits(weights.head_dim)) return false;
  const KvSegment& segment = segments.front();
  const Plane &key = *segment.key, &value = *segment.value;
  // Copies are of 16 bytes, and a tile of 16 keys lies in one page.
  const auto is_aligned = [](const Plane& plane) {
    return plane.dim_stride == 2 && plane.offset % 16 == 0 && plane.head_stride % 16 == 0 &&
           plane.slot_stride % 16 == 0;
  };
  return is_16_bit(key.dtype) && value.dtype == key.dtype && is_aligned(key) && is_aligned(value) &&
         segment.layout->page_bytes % 16 == 0 && segment.layout->page_len >= kKeysOfTile;
}

FastAttention::FastAttention(std::shared_ptr<const Device> device, Launcher& launcher,
                             const ExecutorShape& shape)
    : device_(std::move(device)), launcher_(launcher), shape_(shape) {
  const Kernels& kernels = launcher.kernels();
  for (const bool bf16 : {false, true}) {
    for (const int head_dim : {64, 96, 128, 256}) {
      if (!fits(head_dim)) continue;
      kernels.allow_shared_bytes(decode_kernel(bf16, head_dim), decode_shared_bytes(head_dim));
      kernels.allow_shared_bytes(prefill_kernel(bf16, head_dim), prefill_shared_bytes(head_dim));
      if (has_groups(head_dim)) {
        kernels.allow_shared_bytes(group_kernel(bf16, head_dim), group_shared_bytes(head_dim));
      }
    }
  }
}

AttentionPlanShape FastAttention::plan_shape(const AttentionWeights& weights, int window) const {
  AttentionPlanShape shape;
  shape.num_heads = weights.num_heads;
  shape.num_kv_heads = weights.num_kv_heads;
  shape.head_dim = weights.head_dim;
  shape.window = window;
  shape.blocks_at_once = kBlocksOfSm * device_->info().num_sms;
  shape.prefill_queries = prefill_queries(weights.head_dim);
  return shape;
}

const FastAttention::Lists* FastAttention::find(const AttentionWeights& weights, int window) const {
  for (const auto& lists : lists_) {
    if (lists->shape.num_heads == weights.num_heads &&
        lists->shape.num_kv_heads == weights.num_kv_heads && lists->shape.window == window &&
        lists->shape.head_dim == weights.head_dim) {
      return lists.get();
    }
  }
  return nullptr;
}

void FastAttention::begin_step(const BatchRows& batch, int most_rows, int most_sequences) {
  KVI_CHECK(batch.num_rows <= most_rows && most_rows <= shape_.max_rows);
  KVI_CHECK(batch.sequences.size() <= static_cast<size_t>(most_sequences) &&
            most_sequences <= shape_.max_sequences);
  batch_ = batch;
  most_rows_ = most_rows;
  most_sequences_ = most_sequences;
  step_ = (step_ + 1) % kStepsAtOnce;
  has_decode_ = has_prefill_ = false;
  for (const auto& lists : lists_) plan(*lists);
}

void FastAttention::prepare(const AttentionWeights& weights, const KvSegment& segment) {
  if (find(weights, segment.window) != nullptr) return;
  KVI_CHECK(lists_.size() < kMostShapes);
  auto lists = std::make_unique<Lists>();
  lists->shape = plan_shape(weights, segment.window);
  lists->limits = attention_limits(shape_.max_rows, shape_.max_sequences, shape_.max_context,
                                   lists->shape);
  const auto place = [](uint64_t& end, uint64_t num_bytes) {
    const uint64_t at = end;
    end += aligned(num_bytes);
    return at;
  };
  const uint64_t kv_heads = static_cast<uint64_t>(weights.num_kv_heads);
  uint64_t end = aligned(2 * sizeof(int32_t));  // the lists' lengths come first
  lists->decode_at = place(end,
                           static_cast<uint64_t>(lists->limits.decode) * sizeof(AttentionWork));
  lists->prefill_at = place(end,
                            static_cast<uint64_t>(lists->limits.prefill) * sizeof(AttentionWork));
  const uint64_t copied_bytes = end;
  lists->arrivals_at = place(
      end, static_cast<uint64_t>(lists->limits.split_tiles) * kv_heads * sizeof(int32_t));
  lists->partials_at = place(end, static_cast<uint64_t>(lists->limits.partials) * kv_heads *
                                      partial_floats(weights.head_dim) * sizeof(float));
  lists->on_device = std::make_unique<DeviceBuffer>(device_, end, "attention's partial results");
  for (auto& buffer : lists->on_host) {
    buffer = std::make_unique<PinnedBuffer>(device_, copied_bytes);
  }
  {
    const CurrentContext current(*device_);
    device_->check(device_->api().memset_d8_async(
                       reinterpret_cast<CUdeviceptr>(lists->on_device->data() + lists->arrivals_at),
                       0, lists->partials_at - lists->arrivals_at, device_->stream()),
                   "clear attention's counters");
  }
  plan(*lists);
  lists_.push_back(std::move(lists));
}

void FastAttention::plan(Lists& lists) {
  plan_attention(batch_.sequences, lists.shape, lists.plan);
  const AttentionPlan& plan = lists.plan;
  lists.grid = attention_limits(most_rows_, most_sequences_, shape_.max_context, lists.shape);
  KVI_CHECK(std::ssize(plan.decode) <= lists.grid.decode &&
            std::ssize(plan.prefill) <= lists.grid.prefill &&
            plan.num_partials <= lists.limits.partials &&
            plan.num_split_tiles <= lists.limits.split_tiles);
  has_decode_ = has_decode_ || !plan.decode.empty();
  has_prefill_ = has_prefill_ || !plan.prefill.empty();

  std::byte* host = lists.on_host[static_cast<size_t>(step_)]->data();
  const int32_t counts[] = {static_cast<int32_t>(plan.decode.size()),
                            static_cast<int32_t>(plan.prefill.size())};
  const uint64_t decode_bytes = plan.decode.size() * sizeof(AttentionWork);
  const uint64_t prefill_bytes = plan.prefill.size() * sizeof(AttentionWork);
  std::memcpy(host, counts, sizeof counts);
  std::memcpy(host + lists.decode_at, plan.decode.data(), decode_bytes);
  copy_to_device(*device_, lists.on_device->data(), {host, lists.decode_at + decode_bytes});
  if (prefill_bytes > 0) {
    std::memcpy(host + lists.prefill_at, plan.prefill.data(), prefill_bytes);
    copy_to_device(*device_, lists.on_device->data() + lists.prefill_at,
                   {host + lists.prefill_at, prefill_bytes});
  }
}

// A map's box that begins behind the last page, or before the first, is filled with zeros: there is no bound to give.
TensorMap FastAttention::map_of(const KvSegment& segment, const Plane& plane) const {
  constexpr cuuint64_t kAnyPage = uint64_t{1} << 30;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(plane.dim),
                              static_cast<cuuint64_t>(segment.layout->page_len),
                              static_cast<cuuint64_t>(plane.num_heads), kAnyPage};
  const cuuint64_t strides[] = {plane.slot_stride, plane.head_stride, segment.layout->page_bytes};
  const cuuint32_t box[] = {64, kKeysOfTile, 1, 1}, steps[] = {1, 1, 1, 1};
  CUtensorMap map;  // aligned as its type says
  const CurrentContext current(*device_);
  device_->check(device_->api().tensor_map_encode_tiled(
                     &map,
                     plane.dtype == DType::BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                     std::size(sizes), segment.pages + plane.offset, sizes, strides, box, steps,
                     CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                 "describe KV pages for copies");
  TensorMap result;
  static_assert(sizeof result == sizeof map);
  std::memcpy(&result, &map, sizeof map);
  return result;
}

void FastAttention::launch(const AttentionWeights& weights, const KvSegment& segment,
                           const PageTables& tables, const void* queries, void* out,
                           Format out_format) const {
  const Lists* lists = find(weights, segment.window);
  KVI_CHECK(lists != nullptr && serves(weights, {&segment, 1}));
  std::byte* base = lists->on_device->data();
  const int32_t* counts = reinterpret_cast<const int32_t*>(base);
  PagedAttentionParams params = {
      .queries = queries,
      .out = out,
      .pages = reinterpret_cast<const uint8_t*>(segment.pages),
      .page_bytes = segment.layout->page_bytes,
      .key = place_of(*segment.key),
      .value = place_of(*segment.value),
      .tables = tables,
      .work = reinterpret_cast<const AttentionWork*>(base + lists->decode_at),
      .num_work = counts,
      .partials = reinterpret_cast<float*>(base + lists->partials_at),
      .arrivals = reinterpret_cast<int32_t*>(base + lists->arrivals_at),
      .num_heads = weights.num_heads,
      .num_kv_heads = weights.num_kv_heads,
      .page_shift = page_shift(*segment.layout),
      .window = segment.window,
      .softmax_scale = weights.softmax_scale,
      .softcap = weights.logit_softcap,
      .out_format = out_format};
  const bool bf16 = segment.key->dtype == DType::BF16;
  const uint32_t kv_heads = static_cast<uint32_t>(weights.num_kv_heads);
  if (has_decode_) {
    launcher_.launch(decode_kernel(bf16, weights.head_dim),
                     {.x = kv_heads,
                      .y = static_cast<uint32_t>(lists->grid.decode),
                      .num_threads = kDecodeThreads,
                      .shared_bytes = static_cast<uint32_t>(decode_shared_bytes(weights.head_dim)),
                      .overlaps = true},
                     params);
  }
  if (!has_prefill_) return;
  params.work = reinterpret_cast<const AttentionWork*>(base + lists->prefill_at);
  params.num_work = counts + 1;
  const uint32_t most_work = static_cast<uint32_t>(lists->grid.prefill);
  if (has_groups(weights.head_dim)) {
    const PagedAttentionMaps maps = {map_of(segment, *segment.key), map_of(segment, *segment.value),
                                     params};
    launcher_.launch(
        group_kernel(bf16, weights.head_dim),
        {.x = std::min(static_cast<uint32_t>(device_->info().num_sms), kv_heads * most_work),
         .num_threads = kGroupThreads,
         .shared_bytes = static_cast<uint32_t>(group_shared_bytes(weights.head_dim)),
         .overlaps = true},
        maps);
    return;
  }
  launcher_.launch(prefill_kernel(bf16, weights.head_dim),
                   {.x = kv_heads,
                    .y = most_work,
                    .num_threads = kPrefillThreads,
                    .shared_bytes = static_cast<uint32_t>(prefill_shared_bytes(weights.head_dim)),
                    .overlaps = true},
                   params);
}

}  // namespace kvi::cuda
