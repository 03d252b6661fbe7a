#include "backend/cuda/fast_executor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "backend/cuda/cuda_matrix.h"
#include "backend/cuda/plain_attention.h"
#include "base/error.h"
#include "base/text.h"
#include "cuda/attention.h"
#include "cuda/heads.h"

namespace kvi::cuda {
namespace {

constexpr int kLogitRows = 256;  // computed at once: the vocabulary is large
constexpr int kPaddedTo = 8;     // rows of recorded steps, from there on

uint32_t groups_of(int64_t count, int64_t size) {
  return static_cast<uint32_t>((count + size - 1) / size);
}

// Rows that recorded steps have: few sizes, so that few graphs serve all.
int padded(int num_rows) {
  if (num_rows < kPaddedTo) return static_cast<int>(std::bit_ceil(static_cast<unsigned>(num_rows)));
  return (num_rows + kPaddedTo - 1) / kPaddedTo * kPaddedTo;
}

void check_row(const char* what, int64_t index, int64_t size) {
  if (index >= 0 && index < size) return;
  throw Error(Status::INTERNAL, concat(what, " ", index, " is outside the table of ", size,
                                       "; the caller should have refused it"));
}

}  // namespace

FastExecutor::Arrays::Arrays(const ExecutorShape& shape, Scratch& scratch)
    : hidden(scratch.take<float>(int64_t{shape.max_rows} * shape.embedding_len)),
      block_out(scratch.take<float>(int64_t{shape.max_rows} * shape.embedding_len)),
      normed(scratch.take<uint16_t>(int64_t{std::max(shape.max_rows, logit_rows_at_once(shape))} *
                                    shape.embedding_len)),
      angles(scratch.take<float>(int64_t{shape.max_rows} * shape.head_dim)),
      room(shape, scratch) {
  const int64_t rows = shape.max_rows;
  Scratch attention_block = scratch, mlp_block = scratch, head_block = scratch;
  queries = attention_block.take<float>(rows * shape.q_len);
  keys = attention_block.take<float>(rows * shape.kv_len);
  values = attention_block.take<float>(rows * shape.kv_len);
  half_queries = attention_block.take<uint16_t>(rows * shape.q_len);
  attended = attention_block.take<uint16_t>(rows * shape.q_len);
  active = mlp_block.take<uint16_t>(rows * shape.ffn_len);
  logits = head_block.take<float>(logit_rows_at_once(shape) * shape.vocab_size);
  for (const Scratch& block : {attention_block, mlp_block, head_block}) {
    scratch.skip_to(block.size_bytes());
  }
}

int FastExecutor::logit_rows_at_once(const ExecutorShape& shape) {
  return std::min(shape.max_logit_rows, kLogitRows);
}

uint64_t FastExecutor::scratch_bytes(const ExecutorShape& shape) {
  Scratch count(nullptr);
  Arrays(shape, count);
  return count.size_bytes() + StepInputs::fixed_bytes(shape);
}

FastExecutor::FastExecutor(std::shared_ptr<const Device> device,
                           std::shared_ptr<const Kernels> kernels, const ExecutorShape& shape)
    : device_(std::move(device)),
      shape_(shape),
      launcher_(std::move(kernels)),
      memory_(device_, scratch_bytes(shape) - StepInputs::fixed_bytes(shape),
              "the activations of a step"),
      scratch_(memory_.data()),
      arrays_(shape, scratch_),
      inputs_(device_, shape),
      choice_inputs_(device_, shape),
      linear_(device_, launcher_, arrays_.room),
      attention_(device_, launcher_, shape) {}

// What is under way reads and writes memory that goes with the executor.
FastExecutor::~FastExecutor() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().stream_synchronize(device_->stream());
}

void FastExecutor::begin_step(const BatchRows& batch) {
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
  is_all_fast_ = true;
  launcher_.note(nullptr);
  noted_ = replayed_ = nullptr;
  num_rows_ = batch.num_rows;
  const int sequences = static_cast<int>(batch.sequences.size());
  const bool decodes = sequences == batch.num_rows;
  const int padded_rows = padded(batch.num_rows);
  const bool is_recorded = decodes && may_record_ && padded_rows <= most_recorded_rows_ &&
                           padded_rows <= std::min(shape_.max_rows, shape_.max_sequences);
  if (is_recorded) num_rows_ = padded_rows;
  inputs_.begin_step(batch, num_rows_);
  attention_.begin_step(batch, num_rows_, is_recorded ? padded_rows : sequences);
  if (!is_recorded) return;
  RecordedStep& known = recorded_[padded_rows];
  if (known.graph != nullptr) {
    replayed_ = &known;
  } else {
    known.launches = LaunchList();  // what a step that failed has left
    noted_ = &known;
    launcher_.note(&known.launches);
  }
}

void FastExecutor::embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) {
  KVI_CHECK(token_ids.size() == static_cast<size_t>(batch_.num_rows));
  for (int row = 0; row < batch_.num_rows; ++row) {
    check_row("token id", token_ids[row], weights.tokens->rows());
    if (weights.positions != nullptr) {
      check_row("position", batch_.positions[row], weights.positions->rows());
    }
  }
  inputs_.upload(token_ids);
  if (replayed_ != nullptr) return;
  const EmbedParams params = {.tokens = view_of(weights.tokens),
                              .learned = view_of(weights.positions),
                              .token_ids = inputs_.token_ids(),
                              .positions = inputs_.positions(),
                              .out = arrays_.hidden,
                              .len = shape_.embedding_len,
                              .scale = weights.scale};
  launcher_.launch(Kernel::embed,
                   {.x = static_cast<uint32_t>(num_rows_), .num_threads = kRowThreads}, params);
}

// The rows of x normed and rounded to what the weight's product reads.
const uint16_t* FastExecutor::normed(const Norm& norm, const Matrix& weight, const int32_t* rows,
                                     int num_rows) {
  const HalfNormParams params = {.norm = weights_of(norm),
                                 .x = arrays_.hidden,
                                 .rows = rows,
                                 .out = arrays_.normed,
                                 .len = shape_.embedding_len,
                                 .format = FastLinear::input_format(weight)};
  launcher_.launch(
      Kernel::half_norm,
      {.x = static_cast<uint32_t>(num_rows), .num_threads = kHalfThreads, .overlaps = true},
      params);
  return arrays_.normed;
}

// The products of the normed hidden state, in f32. Weights in bf16 want it in another type than the others do.
void FastExecutor::project(const Norm& norm, std::initializer_list<FastLinear::Product> products) {
  const FastLinear::Product* first = products.begin();
  while (first != products.end()) {
    const Matrix& weight = *first->linear->weight;
    const FastLinear::Product* end = first + 1;
    while (end != products.end() &&
           FastLinear::input_format(*end->linear->weight) == FastLinear::input_format(weight)) {
      ++end;
    }
    linear_.multiply({first, end}, normed(norm, weight, nullptr, num_rows_), num_rows_,
                     StreamOutput::f32);
    first = end;
  }
}

void FastExecutor::prepare_angles(const Rope& rope) {
  if (angles_of_ == &rope) return;
  const int half = rope.rotary_dim / 2;
  KVI_CHECK(rope.rotary_dim <= std::min(shape_.head_dim, kMostRotaryDim) &&
            rope.rotary_dim % 2 == 0);
  AnglesParams params = {.positions = inputs_.positions(),
                         .angles = arrays_.angles,
                         .num_rows = num_rows_,
                         .half = half,
                         .factor = rope.attention_factor,
                         .inverse_frequencies = {}};
  std::copy(rope.inverse_frequencies.begin(), rope.inverse_frequencies.end(),
            params.inverse_frequencies);
  launcher_.launch(
      Kernel::rotary_angles,
      {.x = groups_of(int64_t{num_rows_} * half, kRowThreads), .num_threads = kRowThreads}, params);
  angles_of_ = &rope;
}

void FastExecutor::qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) {
  const int64_t q_len = int64_t{weights.num_heads} * weights.head_dim;
  const int64_t kv_len = int64_t{weights.num_kv_heads} * weights.head_dim;
  KVI_CHECK(q_len <= shape_.q_len && kv_len <= shape_.kv_len);
  KVI_CHECK(kv.key->num_heads == weights.num_kv_heads && kv.key->dim == weights.head_dim);
  for (size_t s = 0; s < batch_.sequences.size(); ++s) {
    const SequenceRows& rows = batch_.sequences[s];
    KVI_CHECK(kv.tables[s].size() * static_cast<size_t>(kv.layout->page_len) >=
              static_cast<size_t>(rows.first_position + rows.num_rows));
  }
  const PageTables tables = inputs_.upload_tables(kv.tables);
  if (replayed_ != nullptr) return;
  while (most_recorded_rows_ > 1 && linear_.is_dense(*weights.q.weight, most_recorded_rows_)) {
    --most_recorded_rows_;
  }
  if (weights.rope != nullptr) prepare_angles(*weights.rope);
  project(
      weights.input_norm,
      {{&weights.q, arrays_.queries}, {&weights.k, arrays_.keys}, {&weights.v, arrays_.values}});
  if (!attention_.serves(weights, {&kv, 1})) {
    is_all_fast_ = false;
    return finish_heads(launcher_, weights, kv, tables, inputs_.positions(), arrays_.angles,
                        {arrays_.queries, arrays_.keys, arrays_.values}, num_rows_);
  }
  const StoreHeadsParams params = {
      .queries = arrays_.queries,
      .keys = arrays_.keys,
      .values = arrays_.values,
      .query_stride = q_len,
      .key_stride = kv_len,
      .value_stride = kv_len,
      .rounded_queries = arrays_.half_queries,
      .heads_of_warp = heads_of_warp(num_rows_),
      .num_rows = num_rows_,
      .num_heads = weights.num_heads,
      .num_kv_heads = weights.num_kv_heads,
      .head_dim = weights.head_dim,
      .q_norm = weights_of(weights.q_norm),
      .k_norm = weights_of(weights.k_norm),
      .angles = weights.rope != nullptr ? arrays_.angles : nullptr,
      .rotary_dim = weights.rope != nullptr ? weights.rope->rotary_dim : 0,
      .interleaved = weights.rope != nullptr && weights.rope->pairs == RopePairs::interleaved,
      .positions = inputs_.positions(),
      .tables = tables,
      .pages = reinterpret_cast<uint8_t*>(kv.pages),
      .page_bytes = kv.layout->page_bytes,
      .page_shift = page_shift(*kv.layout),
      .key = place_of(*kv.key),
      .value = place_of(*kv.value),
      .format = format_of(kv.key->dtype)};
  const int heads_at_once = kFinishWarps * params.heads_of_warp;
  launcher_.launch(weights.head_dim <= 128 ? Kernel::store_heads_128 : Kernel::store_heads_256,
                   {.x = groups_of(weights.num_heads + 2 * weights.num_kv_heads, heads_at_once),
                    .y = static_cast<uint32_t>(num_rows_),
                    .num_threads = kFinishThreads,
                    .overlaps = true},
                   params);
}

void FastExecutor::attention(const AttentionWeights& weights, std::span<const KvSegment> segments) {
  if (replayed_ != nullptr) return;
  const Format out_format = FastLinear::input_format(*weights.out.weight);
  if (is_all_fast_) {
    KVI_CHECK(segments.size() == 1);
    const KvSegment& segment = segments.front();
    attention_.prepare(weights, segment);
    return attention_.launch(weights, segment, inputs_.upload_tables(segment.tables),
                             arrays_.half_queries, arrays_.attended, out_format);
  }
  KVI_CHECK(segments.size() <= kMostSegments);
  std::array<PageTables, kMostSegments> tables;
  for (size_t i = 0; i < segments.size(); ++i) {
    tables[i] = inputs_.upload_tables(segments[i].tables);
  }
  // Each row and head reads its query before it writes its result in that place.
  attend(launcher_, weights, segments, tables, inputs_.positions(), arrays_.queries,
         arrays_.queries, num_rows_);
  const HalfNormParams round = {.norm = {},
                                .x = arrays_.queries,
                                .rows = nullptr,
                                .out = arrays_.attended,
                                .len = int64_t{weights.num_heads} * weights.head_dim,
                                .format = out_format};
  launcher_.launch(
      Kernel::half_norm,
      {.x = static_cast<uint32_t>(num_rows_), .num_threads = kHalfThreads, .overlaps = true},
      round);
}

// hidden += post_norm(rows * weight + bias)
void FastExecutor::add_output(const Linear& output, const Norm& post_norm, const uint16_t* rows) {
  if (post_norm.kind == NormKind::none) {
    linear_.multiply_one(output, rows, num_rows_, arrays_.hidden, StreamOutput::add_f32);
    return;
  }
  linear_.multiply_one(output, rows, num_rows_, arrays_.block_out);
  const NormParams params = {.norm = weights_of(post_norm),
                             .x = arrays_.block_out,
                             .rows = nullptr,
                             .out = arrays_.hidden,
                             .len = shape_.embedding_len,
                             .adds = true};
  launcher_.launch(Kernel::norm_rows,
                   {.x = static_cast<uint32_t>(num_rows_), .num_threads = kRowThreads}, params);
}

void FastExecutor::out_residual(const AttentionWeights& weights) {
  if (replayed_ != nullptr) return;
  add_output(weights.out, weights.post_norm, arrays_.attended);
}

void FastExecutor::mlp(const MlpWeights& weights) {
  const int64_t ffn_len = weights.up.weight->rows();
  KVI_CHECK(ffn_len <= shape_.ffn_len);
  if (replayed_ != nullptr) return;
  if (weights.gate.weight != nullptr && FastLinear::input_format(*weights.gate.weight) !=
                                            FastLinear::input_format(*weights.up.weight)) {
    throw Error(Status::UNSUPPORTED,
                "the gate and up matrices of an MLP are one in BF16 and the other not; convert the "
                "model to one type, or use KVI_ACTIVATIONS_F32");
  }
  const uint16_t* x = normed(weights.input_norm, *weights.up.weight, nullptr, num_rows_);
  linear_.multiply_gated(weights, x, num_rows_, arrays_.active,
                         FastLinear::input_format(*weights.down.weight));
  add_output(weights.down, weights.post_norm, arrays_.active);
}

void FastExecutor::end_layers() {
  may_record_ = is_all_fast_;
  launcher_.note(nullptr);
  if (noted_ != nullptr) {
    noted_->graph = std::make_unique<LaunchGraph>(device_, launcher_.kernels(), noted_->launches);
  }
  if (replayed_ != nullptr) replayed_->graph->run();
}

void FastExecutor::compute_logits(const HeadWeights& weights, const int32_t* rows, int num_rows) {
  const int64_t vocab_size = weights.out.weight->rows();
  KVI_CHECK(vocab_size <= shape_.vocab_size);
  const uint16_t* x = normed(weights.norm, *weights.out.weight, rows, num_rows);
  linear_.multiply_one(weights.out, x, num_rows, arrays_.logits);
  if (weights.logit_softcap > 0) {
    const int64_t count = num_rows * vocab_size;
    launcher_.launch(Kernel::softcap,
                     {.x = groups_of(count, kRowThreads), .num_threads = kRowThreads},
                     SoftcapParams{arrays_.logits, count, weights.logit_softcap});
  }
}

void FastExecutor::head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) {
  KVI_CHECK(rows.size() <= static_cast<size_t>(shape_.max_logit_rows));
  const size_t vocab_size = static_cast<size_t>(weights.out.weight->rows());
  const int32_t* on_device = inputs_.upload_logit_rows(rows);
  const size_t at_once = static_cast<size_t>(logit_rows_at_once(shape_));
  for (size_t first = 0; first < rows.size(); first += at_once) {
    const size_t count = std::min(rows.size() - first, at_once);
    compute_logits(weights, on_device + first, static_cast<int>(count));
    copy_to_host(*device_,
                 std::as_writable_bytes(std::span(logits + first * vocab_size, count * vocab_size)),
                 reinterpret_cast<const std::byte*>(arrays_.logits));
  }
  device_->synchronize();
}

void FastExecutor::choose(const HeadWeights& weights, std::span<const TokenChoice> choices,
                          std::span<const LogitEdit> edits, std::span<int32_t> tokens) {
  KVI_CHECK(choices.size() <= static_cast<size_t>(shape_.max_logit_rows));
  KVI_CHECK(tokens.size() == choices.size());
  const size_t at_once = static_cast<size_t>(logit_rows_at_once(shape_));
  const ChoiceInputs::OnDevice inputs = choice_inputs_.upload(choices, edits);
  for (size_t first = 0; first < choices.size(); first += at_once) {
    const int count = static_cast<int>(std::min(choices.size() - first, at_once));
    compute_logits(weights, inputs.logit_rows + first, count);
    launcher_.launch(
        Kernel::sample,
        {.x = static_cast<uint32_t>(count),
         .num_threads = kSampleThreads,
         .shared_bytes = kSampleSharedBytes,
         .overlaps = true},
        SampleParams{arrays_.logits, inputs.rows + first, inputs.edits, inputs.tokens + first,
                     static_cast<int32_t>(weights.out.weight->rows())});
  }
  choice_inputs_.download(tokens);
  for (const int32_t token : tokens) {
    if (token >= weights.out.weight->rows())
      check_row("chosen token", token, weights.out.weight->rows());
  }
}

}  // namespace kvi::cuda
