#include "backend/cuda/cuda_executor.h"

#include <algorithm>
#include <array>

#include "backend/cuda/cuda_matrix.h"
#include "backend/cuda/plain_attention.h"
#include "base/error.h"
#include "base/text.h"
#include "cuda/linear.h"

namespace kvi::cuda {
namespace {

constexpr int kLogitRows = 32;  // computed at once: the vocabulary is large

[[noreturn]] void throw_outside(const char* what, int64_t index, int64_t size) {
  throw Error(Status::INTERNAL, concat(what, " ", index, " is outside the table of ", size,
                                       "; the caller should have refused it"));
}

uint32_t groups_of(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}

Kernel linear_kernel(Format format) {
  switch (format) {
#define KVI_LINEAR_OF(name) \
  case Format::name: return Kernel::linear_##name;
    KVI_CUDA_FORMATS(KVI_LINEAR_OF)
#undef KVI_LINEAR_OF
  }
  KVI_CHECK(!"every format has a product");
  return Kernel::linear_f32;
}

}  // namespace

CudaExecutor::Arrays::Arrays(const ExecutorShape& shape, Scratch& scratch)
    : hidden(scratch.take<float>(int64_t{shape.max_rows} * shape.embedding_len)),
      normed(scratch.take<float>(int64_t{std::max(shape.max_rows, logit_rows_at_once(shape))} *
                                 shape.embedding_len)) {
  const int64_t rows = shape.max_rows;
  angles = scratch.take<float>(rows * shape.head_dim);
  Scratch attention_block = scratch, mlp_block = scratch, head_block = scratch;
  queries = attention_block.take<float>(rows * shape.q_len);
  keys = attention_block.take<float>(rows * shape.kv_len);
  values = attention_block.take<float>(rows * shape.kv_len);
  attended = attention_block.take<float>(rows * shape.q_len);
  gate = mlp_block.take<float>(rows * shape.ffn_len);
  up = mlp_block.take<float>(rows * shape.ffn_len);
  logits = head_block.take<float>(logit_rows_at_once(shape) * shape.vocab_size);
  for (const Scratch& block : {attention_block, mlp_block, head_block}) {
    scratch.skip_to(block.size_bytes());
  }
}

int CudaExecutor::logit_rows_at_once(const ExecutorShape& shape) {
  return std::min(shape.max_logit_rows, kLogitRows);
}

uint64_t CudaExecutor::scratch_bytes(const ExecutorShape& shape) {
  Scratch count(nullptr);
  Arrays(shape, count);
  return count.size_bytes() + StepInputs::fixed_bytes(shape);
}

CudaExecutor::CudaExecutor(std::shared_ptr<const Device> device,
                           std::shared_ptr<const Kernels> kernels, const ExecutorShape& shape)
    : device_(std::move(device)),
      launcher_(std::move(kernels)),
      shape_(shape),
      memory_(device_, scratch_bytes(shape) - StepInputs::fixed_bytes(shape),
              "the activations of a step"),
      scratch_(memory_.data()),
      arrays_(shape, scratch_),
      inputs_(device_, shape) {}

// What is under way reads and writes memory that goes with the executor.
CudaExecutor::~CudaExecutor() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().stream_synchronize(device_->stream());
}

void CudaExecutor::begin_step(const BatchRows& batch) {
  KVI_CHECK(batch.num_rows <= shape_.max_rows);
  KVI_CHECK(batch.sequences.size() <= static_cast<size_t>(shape_.max_sequences));
  KVI_CHECK(batch.positions.size() == static_cast<size_t>(batch.num_rows));
  int row = 0;
  for (const SequenceRows& rows : batch.sequences) {
    KVI_CHECK(rows.first_row == row && row + rows.num_rows <= batch.num_rows);
    KVI_CHECK(rows.first_position + rows.num_rows <= shape_.max_context);
    row += rows.num_rows;
  }
  KVI_CHECK(row == batch.num_rows);
  batch_ = batch;
  angles_of_ = nullptr;
  inputs_.begin_step(batch, batch.num_rows);
}

void CudaExecutor::embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) {
  KVI_CHECK(token_ids.size() == static_cast<size_t>(batch_.num_rows));
  for (int row = 0; row < batch_.num_rows; ++row) {
    const int32_t token = token_ids[row], position = batch_.positions[row];
    if (token < 0 || token >= weights.tokens->rows()) {
      throw_outside("token id", token, weights.tokens->rows());
    }
    if (weights.positions != nullptr && position >= weights.positions->rows()) {
      throw_outside("position", position, weights.positions->rows());
    }
  }
  inputs_.upload(token_ids);
  const EmbedParams params = {.tokens = view_of(weights.tokens),
                              .learned = view_of(weights.positions),
                              .token_ids = inputs_.token_ids(),
                              .positions = inputs_.positions(),
                              .out = arrays_.hidden,
                              .len = shape_.embedding_len,
                              .scale = weights.scale};
  launcher_.launch(Kernel::embed,
                   {.x = static_cast<uint32_t>(batch_.num_rows), .num_threads = kRowThreads},
                   params);
}

void CudaExecutor::apply_norm(const Norm& norm, const float* x, const int32_t* rows, int num_rows,
                              float* out, bool adds) {
  const NormParams params = {.norm = weights_of(norm),
                             .x = x,
                             .rows = rows,
                             .out = out,
                             .len = shape_.embedding_len,
                             .adds = adds};
  launcher_.launch(Kernel::norm_rows,
                   {.x = static_cast<uint32_t>(num_rows), .num_threads = kRowThreads}, params);
}

const float* CudaExecutor::normed_hidden(const Norm& norm) {
  if (norm.kind == NormKind::none) return arrays_.hidden;
  apply_norm(norm, arrays_.hidden, nullptr, batch_.num_rows, arrays_.normed, false);
  return arrays_.normed;
}

void CudaExecutor::multiply(const Linear& linear, const float* x, int num_rows, float* out,
                            bool adds) {
  const MatrixView weight = view_of(linear.weight);
  const LinearParams params = {.weight = weight,
                               .bias = values_of(linear.bias),
                               .x = x,
                               .out = out,
                               .rows = linear.weight->rows(),
                               .cols = linear.weight->cols(),
                               .num_tokens = num_rows,
                               .adds = adds};
  launcher_.launch(linear_kernel(weight.format),
                   {.x = groups_of(params.rows, kLinearRows),
                    .y = groups_of(num_rows, kLinearTokens),
                    .num_threads = kLinearThreads},
                   params);
}

void CudaExecutor::prepare_angles(const Rope& rope) {
  if (angles_of_ == &rope) return;
  const int half = rope.rotary_dim / 2;
  KVI_CHECK(rope.rotary_dim <= std::min(shape_.head_dim, kMostRotaryDim) &&
            rope.rotary_dim % 2 == 0);
  KVI_CHECK(rope.inverse_frequencies.size() == static_cast<size_t>(half));
  AnglesParams params = {.positions = inputs_.positions(),
                         .angles = arrays_.angles,
                         .num_rows = batch_.num_rows,
                         .half = half,
                         .factor = rope.attention_factor,
                         .inverse_frequencies = {}};
  std::copy(rope.inverse_frequencies.begin(), rope.inverse_frequencies.end(),
            params.inverse_frequencies);
  launcher_.launch(
      Kernel::rotary_angles,
      {.x = groups_of(int64_t{batch_.num_rows} * half, kRowThreads), .num_threads = kRowThreads},
      params);
  angles_of_ = &rope;
}

void CudaExecutor::qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) {
  const int64_t q_len = int64_t{weights.num_heads} * weights.head_dim;
  const int64_t kv_len = int64_t{weights.num_kv_heads} * weights.head_dim;
  KVI_CHECK(q_len <= shape_.q_len && kv_len <= shape_.kv_len);
  KVI_CHECK(kv.key->num_heads == weights.num_kv_heads && kv.key->dim == weights.head_dim);
  for (size_t s = 0; s < batch_.sequences.size(); ++s) {
    const SequenceRows& rows = batch_.sequences[s];
    KVI_CHECK(kv.tables[s].size() * static_cast<size_t>(kv.layout->page_len) >=
              static_cast<size_t>(rows.first_position + rows.num_rows));
  }

  const float* x = normed_hidden(weights.input_norm);
  multiply(weights.q, x, batch_.num_rows, arrays_.queries, false);
  multiply(weights.k, x, batch_.num_rows, arrays_.keys, false);
  multiply(weights.v, x, batch_.num_rows, arrays_.values, false);
  if (weights.rope != nullptr) prepare_angles(*weights.rope);
  finish_heads(launcher_, weights, kv, inputs_.upload_tables(kv.tables), inputs_.positions(),
               arrays_.angles, {arrays_.queries, arrays_.keys, arrays_.values}, batch_.num_rows);
}

void CudaExecutor::attention(const AttentionWeights& weights, std::span<const KvSegment> segments) {
  KVI_CHECK(segments.size() <= kMostSegments);
  std::array<PageTables, kMostSegments> tables;
  for (size_t i = 0; i < segments.size(); ++i) {
    tables[i] = inputs_.upload_tables(segments[i].tables);
  }
  attend(launcher_, weights, segments, tables, inputs_.positions(), arrays_.queries,
         arrays_.attended, batch_.num_rows);
}

void CudaExecutor::add_output(const Linear& output, const Norm& post_norm, const float* rows) {
  if (post_norm.kind == NormKind::none) {
    multiply(output, rows, batch_.num_rows, arrays_.hidden, true);
    return;
  }
  multiply(output, rows, batch_.num_rows, arrays_.normed, false);
  apply_norm(post_norm, arrays_.normed, nullptr, batch_.num_rows, arrays_.hidden, true);
}

void CudaExecutor::out_residual(const AttentionWeights& weights) {
  add_output(weights.out, weights.post_norm, arrays_.attended);
}

void CudaExecutor::mlp(const MlpWeights& weights) {
  const int64_t ffn_len = weights.up.weight->rows();
  KVI_CHECK(ffn_len <= shape_.ffn_len);
  const float* x = normed_hidden(weights.input_norm);
  const bool is_gated = weights.gate.weight != nullptr;
  multiply(weights.up, x, batch_.num_rows, arrays_.up, false);
  if (is_gated) multiply(weights.gate, x, batch_.num_rows, arrays_.gate, false);
  const ActivateParams params = {.gate = is_gated ? arrays_.gate : nullptr,
                                 .up = arrays_.up,
                                 .out = arrays_.up,
                                 .count = batch_.num_rows * ffn_len,
                                 .gelu = weights.activation == Activation::gelu_tanh};
  launcher_.launch(Kernel::activate,
                   {.x = groups_of(params.count, kRowThreads), .num_threads = kRowThreads}, params);
  add_output(weights.down, weights.post_norm, arrays_.up);
}

void CudaExecutor::head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) {
  KVI_CHECK(rows.size() <= static_cast<size_t>(shape_.max_logit_rows));
  const int64_t vocab_size = weights.out.weight->rows();
  KVI_CHECK(vocab_size <= shape_.vocab_size);
  const int32_t* on_device = inputs_.upload_logit_rows(rows);
  const size_t at_once = static_cast<size_t>(logit_rows_at_once(shape_));
  for (size_t first = 0; first < rows.size(); first += at_once) {
    const int num_rows = static_cast<int>(std::min(rows.size() - first, at_once));
    const int64_t count = num_rows * vocab_size;
    apply_norm(weights.norm, arrays_.hidden, on_device + first, num_rows, arrays_.normed, false);
    multiply(weights.out, arrays_.normed, num_rows, arrays_.logits, false);
    if (weights.logit_softcap > 0) {
      launcher_.launch(Kernel::softcap,
                       {.x = groups_of(count, kRowThreads), .num_threads = kRowThreads},
                       SoftcapParams{arrays_.logits, count, weights.logit_softcap});
    }
    copy_to_host(*device_,
                 std::as_writable_bytes(std::span(logits + static_cast<int64_t>(first) * vocab_size,
                                                  static_cast<size_t>(count))),
                 reinterpret_cast<const std::byte*>(arrays_.logits));
  }
  device_->synchronize();
}

}  // namespace kvi::cuda
