#include "backend/cpu/cpu_executor.h"

#include <algorithm>

#include "backend/cpu/cpu_vector.h"
#include "base/error.h"
#include "base/text.h"

namespace kvi::cpu {
namespace {

// Values of a piece of row-wise work: several microseconds. Less is not worth waking a thread for.
constexpr int64_t kPieceValues = 8192;

int64_t widest_input(const ExecutorShape& shape) {
  return std::max({shape.embedding_len, shape.q_len, shape.ffn_len});
}

[[noreturn]] void throw_outside(const char* what, int64_t index, int64_t size) {
  throw Error(Status::INTERNAL, concat(what, " ", index, " is outside the table of ", size,
                                       "; the caller should have refused it"));
}

}  // namespace

CpuExecutor::Arrays::Arrays(const ExecutorShape& shape, int num_threads, Scratch& scratch)
    : hidden(scratch.take<float>(int64_t{shape.max_rows} * shape.embedding_len)),
      normed(scratch.take<float>(int64_t{shape.max_rows} * shape.embedding_len)),
      sequence_of(scratch.take<int>(shape.max_rows)),
      angles(shape, scratch),
      attention(shape, num_threads, scratch) {
  const int64_t rows = shape.max_rows;
  Scratch attention_block = scratch, mlp_block = scratch;
  queries = attention_block.take<float>(rows * shape.q_len);
  keys = attention_block.take<float>(rows * shape.kv_len);
  values = attention_block.take<float>(rows * shape.kv_len);
  attended = attention_block.take<float>(rows * shape.q_len);
  gate = mlp_block.take<float>(rows * shape.ffn_len);
  up = mlp_block.take<float>(rows * shape.ffn_len);
  scratch.skip_to(std::max(attention_block.size_bytes(), mlp_block.size_bytes()));
}

uint64_t CpuExecutor::scratch_bytes(const ExecutorShape& shape, const ExecutorOptions& options) {
  Scratch count(nullptr);
  Arrays(shape, options.num_threads, count);
  return count.size_bytes() +
         LinearInput::size_bytes(shape.max_rows, widest_input(shape), options.precision);
}

CpuExecutor::CpuExecutor(Isa isa, const VectorOps& ops, const ExecutorShape& shape,
                         const ExecutorOptions& options)
    : isa_(isa),
      ops_(ops),
      shape_(shape),
      scratch_bytes_(scratch_bytes(shape, options)),
      pool_(options.num_threads),
      input_(shape.max_rows, widest_input(shape), options.precision),
      memory_(scratch_bytes_ - input_.size_bytes()),
      scratch_(memory_.data()),
      arrays_(shape, options.num_threads, scratch_) {}

template <typename Body>
void CpuExecutor::for_each_row(int num_rows, int64_t values_per_row, const Body& body) {
  const int rows_per_piece = static_cast<int>(
      std::max<int64_t>(1, kPieceValues / std::max<int64_t>(1, values_per_row)));
  pool_.run((num_rows + rows_per_piece - 1) / rows_per_piece, [&](int64_t piece, int) {
    const int first = static_cast<int>(piece) * rows_per_piece;
    for (int row = first; row < std::min(num_rows, first + rows_per_piece); ++row) body(row);
  });
}

void CpuExecutor::begin_step(const BatchRows& batch) {
  KVI_CHECK(batch.num_rows <= shape_.max_rows);
  KVI_CHECK(batch.sequences.size() <= static_cast<size_t>(shape_.max_sequences));
  KVI_CHECK(batch.positions.size() == static_cast<size_t>(batch.num_rows));
  int row = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& rows = batch.sequences[s];
    KVI_CHECK(rows.first_row == row && row + rows.num_rows <= batch.num_rows);
    KVI_CHECK(rows.first_position + rows.num_rows <= shape_.max_context);
    for (; row < rows.first_row + rows.num_rows; ++row) {
      arrays_.sequence_of[row] = static_cast<int>(s);
    }
  }
  KVI_CHECK(row == batch.num_rows);
  batch_ = batch;
  arrays_.angles.begin_step(batch.positions);
}

void CpuExecutor::embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) {
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
  const int64_t len = shape_.embedding_len;
  for_each_row(batch_.num_rows, len, [&](int row) {
    float* hidden = arrays_.hidden + row * len;
    unpack_row(*weights.tokens, token_ids[row], hidden);
    if (weights.scale != 1) ops_.scale(weights.scale, len, hidden);
    if (weights.positions != nullptr) {
      float* learned = arrays_.normed + row * len;
      unpack_row(*weights.positions, batch_.positions[row], learned);
      ops_.add(learned, len, hidden);
    }
  });
}

void CpuExecutor::apply_norm(const Norm& norm, const float* x, int64_t len, float* out) const {
  if (norm.kind == NormKind::rms) {
    ops_.rms_norm(x, values_of(norm.weight), norm.eps, len, out);
  } else {
    ops_.layer_norm(x, values_of(norm.weight), values_of(norm.bias), norm.eps, len, out);
  }
}

void CpuExecutor::prepare_normed(const Norm& norm) {
  const int64_t len = shape_.embedding_len;
  const float* rows = arrays_.hidden;
  if (norm.kind != NormKind::none) {
    for_each_row(batch_.num_rows, len, [&](int row) {
      apply_norm(norm, arrays_.hidden + row * len, len, arrays_.normed + row * len);
    });
    rows = arrays_.normed;
  }
  input_.assign(pool_, isa_, rows, len, batch_.num_rows, len);
}

void CpuExecutor::qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) {
  const int64_t q_len = int64_t{weights.num_heads} * weights.head_dim;
  const int64_t kv_len = int64_t{weights.num_kv_heads} * weights.head_dim;
  KVI_CHECK(q_len <= shape_.q_len && kv_len <= shape_.kv_len);
  KVI_CHECK(kv.key->num_heads == weights.num_kv_heads && kv.key->dim == weights.head_dim);
  for (size_t s = 0; s < batch_.sequences.size(); ++s) {
    const SequenceRows& rows = batch_.sequences[s];
    const int num_positions = rows.first_position + rows.num_rows;
    KVI_CHECK(kv.tables[s].size() * static_cast<size_t>(kv.layout->page_len) >=
              static_cast<size_t>(num_positions));
  }

  prepare_normed(weights.input_norm);
  const LinearTarget targets[] = {
      {weights.q.weight, values_of(weights.q.bias), LinearResult::store, arrays_.queries, q_len},
      {weights.k.weight, values_of(weights.k.bias), LinearResult::store, arrays_.keys, kv_len},
      {weights.v.weight, values_of(weights.v.bias), LinearResult::store, arrays_.values, kv_len},
  };
  linear(pool_, isa_, targets, input_);
  if (weights.rope != nullptr) arrays_.angles.prepare(pool_, *weights.rope);
  for_each_row(batch_.num_rows, q_len + 2 * kv_len, [&](int row) { finish_row(weights, kv, row); });
}

void CpuExecutor::finish_row(const AttentionWeights& weights, const KvSegment& kv, int row) {
  const int head_dim = weights.head_dim;
  auto finish_head = [&](const Norm& norm, float* head) {
    if (norm.kind != NormKind::none) apply_norm(norm, head, head_dim, head);
    if (weights.rope != nullptr) {
      ops_.rotate(weights.rope->pairs, arrays_.angles.at(*weights.rope, row),
                  weights.rope->rotary_dim, head);
    }
  };
  float* queries = arrays_.queries + row * int64_t{weights.num_heads} * head_dim;
  for (int h = 0; h < weights.num_heads; ++h) finish_head(weights.q_norm, queries + h * head_dim);

  const int position = batch_.positions[row];
  const PageId page = kv.tables[arrays_.sequence_of[row]][position / kv.layout->page_len];
  const uint64_t slot = static_cast<uint64_t>(position % kv.layout->page_len);
  std::byte* memory = kv.pages + static_cast<uint64_t>(page) * kv.layout->page_bytes;
  const int64_t kv_row = row * int64_t{weights.num_kv_heads} * head_dim;
  for (int h = 0; h < weights.num_kv_heads; ++h) {
    float* key = arrays_.keys + kv_row + h * head_dim;
    finish_head(weights.k_norm, key);
    auto store = [&](const Plane& plane, const float* head) {
      std::byte* first = memory + plane.offset + static_cast<uint64_t>(h) * plane.head_stride +
                         slot * plane.slot_stride;
      ops_.store_head(head, head_dim, plane.dtype, first, plane.dim_stride);
    };
    store(*kv.key, key);
    store(*kv.value, arrays_.values + kv_row + h * head_dim);
  }
}

void CpuExecutor::attention(const AttentionWeights& weights, std::span<const KvSegment> segments) {
  arrays_.attention.run(pool_, ops_, batch_, weights, segments, arrays_.queries, arrays_.attended);
}

void CpuExecutor::add_output(const Linear& output, const Norm& post_norm, const float* rows) {
  const int64_t cols = output.weight->cols(), len = shape_.embedding_len;
  input_.assign(pool_, isa_, rows, cols, batch_.num_rows, cols);
  const float* bias = values_of(output.bias);
  if (post_norm.kind == NormKind::none) {
    linear(pool_, isa_, *output.weight, input_, bias, LinearResult::add, arrays_.hidden, len);
    return;
  }
  linear(pool_, isa_, *output.weight, input_, bias, LinearResult::store, arrays_.normed, len);
  for_each_row(batch_.num_rows, 2 * len, [&](int row) {
    float* normed = arrays_.normed + row * len;
    apply_norm(post_norm, normed, len, normed);
    ops_.add(normed, len, arrays_.hidden + row * len);
  });
}

void CpuExecutor::out_residual(const AttentionWeights& weights) {
  add_output(weights.out, weights.post_norm, arrays_.attended);
}

void CpuExecutor::mlp(const MlpWeights& weights) {
  const int64_t ffn_len = weights.up.weight->rows();
  KVI_CHECK(ffn_len <= shape_.ffn_len);
  prepare_normed(weights.input_norm);
  const LinearTarget targets[] = {
      {weights.up.weight, values_of(weights.up.bias), LinearResult::store, arrays_.up, ffn_len},
      {weights.gate.weight, values_of(weights.gate.bias), LinearResult::store, arrays_.gate,
       ffn_len},
  };
  const bool gated = weights.gate.weight != nullptr;
  linear(pool_, isa_, std::span(targets).first(gated ? 2 : 1), input_);
  for_each_row(batch_.num_rows, 2 * ffn_len, [&](int row) {
    float* up = arrays_.up + row * ffn_len;
    if (gated) {
      ops_.activate(weights.activation, arrays_.gate + row * ffn_len, up, ffn_len, up);
    } else {
      ops_.activate(weights.activation, up, nullptr, ffn_len, up);
    }
  });
  add_output(weights.down, weights.post_norm, arrays_.up);
}

void CpuExecutor::head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) {
  KVI_CHECK(rows.size() <= static_cast<size_t>(shape_.max_logit_rows));
  const int64_t len = shape_.embedding_len, vocab_size = weights.out.weight->rows();
  for (size_t first = 0; first < rows.size(); first += static_cast<size_t>(shape_.max_rows)) {
    const auto block = rows.subspan(
        first, std::min(rows.size() - first, static_cast<size_t>(shape_.max_rows)));
    const int num_rows = static_cast<int>(block.size());
    for_each_row(num_rows, len, [&](int i) {
      const float* hidden = arrays_.hidden + block[static_cast<size_t>(i)] * len;
      float* normed = arrays_.normed + i * len;
      if (weights.norm.kind == NormKind::none) {
        std::copy_n(hidden, len, normed);
      } else {
        apply_norm(weights.norm, hidden, len, normed);
      }
    });
    input_.assign(pool_, isa_, arrays_.normed, len, num_rows, len);
    float* out = logits + static_cast<int64_t>(first) * vocab_size;
    linear(pool_, isa_, *weights.out.weight, input_, values_of(weights.out.bias),
           LinearResult::store, out, vocab_size);
    if (weights.logit_softcap > 0) {
      pool_.run((num_rows * vocab_size + kPieceValues - 1) / kPieceValues, [&](int64_t piece, int) {
        const int64_t begin = piece * kPieceValues;
        const int64_t end = std::min(begin + kPieceValues, num_rows * vocab_size);
        ops_.softcap(weights.logit_softcap, end - begin, out + begin);
      });
    }
  }
}

}  // namespace kvi::cpu
