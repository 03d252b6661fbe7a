// Models of random weights in the shape of any family, over a backend: for tests and benchmarks of
// executors. Owns weights, KV pages and page tables; knows no files.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "base/memory_range.h"
#include "support/random_matrix.h"

namespace kvi {

struct SyntheticConfig {
  int num_layers = 3, embedding_len = 64;
  int num_heads = 4, num_kv_heads = 2, head_dim = 16;
  int ffn_len = 160, vocab_size = 96;
  NormKind norm = NormKind::rms;
  bool has_biases = false;      // of every projection
  bool has_head_norms = false;  // q and k
  bool has_post_norms = false;
  bool is_gated = true;
  Activation activation = Activation::silu;
  RopePairs rope_pairs = RopePairs::interleaved;
  int rotary_dim = 16;  // 0: learned positions
  float embedding_scale = 1;
  float softcap = 0;                // of attention and logits
  int window = 0;                   // of every layer but each third
  DType dtype = DType::F32;         // of matrices
  std::optional<DType> head_dtype;  // of the head and the embedding; nullopt: as the others
  bool is_tied = false;             // the head is the embedding
  DType kv_dtype = DType::F16;
  int page_len = 16;
  int max_context = 256;
  // Matrices repeat the same rows after this many, so that large ones are made fast; 0: they never do.
  int64_t distinct_rows = 0;
  bool is_even = false;  // weights of any type are about as large

  int q_len() const { return num_heads * head_dim; }
  int kv_len() const { return num_kv_heads * head_dim; }
  int window_of(int layer) const { return layer % 3 == 2 ? 0 : window; }
};

class SyntheticModel {
 public:
  struct Layer {
    AttentionWeights attention;
    MlpWeights mlp;
  };

  // Equal configs and seeds give equal weights. keep_sources: weights stay readable through row().
  SyntheticModel(Backend& backend, const SyntheticConfig& config, uint64_t seed,
                 bool keep_sources = true)
      : config_(config), random_(seed), backend_(backend), keep_sources_(keep_sources) {
    const int embedding = config.embedding_len;
    for (double base : {10000.0, 1000000.0}) {
      Rope rope;
      rope.pairs = config.rope_pairs;
      rope.rotary_dim = config.rotary_dim;
      for (int i = 0; i < config.rotary_dim / 2; ++i) {
        rope.inverse_frequencies.push_back(std::pow(base, -2.0 * i / config.rotary_dim));
      }
      ropes_.push_back(rope);
    }
    const DType head_dtype = config.head_dtype.value_or(config.dtype);
    embedding_.tokens = matrix(config.vocab_size, embedding, head_dtype);
    embedding_.scale = config.embedding_scale;
    if (config.rotary_dim == 0) embedding_.positions = matrix(config.max_context, embedding);
    std::vector<KvLayerShape> shapes;
    for (int i = 0; i < config.num_layers; ++i) {
      Layer layer;
      AttentionWeights& attention = layer.attention;
      attention.num_heads = config.num_heads;
      attention.num_kv_heads = config.num_kv_heads;
      attention.head_dim = config.head_dim;
      attention.input_norm = norm(embedding);
      attention.q = linear(config.q_len(), embedding);
      attention.k = linear(config.kv_len(), embedding);
      attention.v = linear(config.kv_len(), embedding);
      if (config.has_head_norms) attention.q_norm = norm(config.head_dim);
      if (config.has_head_norms) attention.k_norm = norm(config.head_dim);
      if (config.rotary_dim > 0) attention.rope = &ropes_[config.window_of(i) > 0 ? 0 : 1];
      attention.softmax_scale = 1 / std::sqrt(static_cast<float>(config.head_dim));
      attention.logit_softcap = config.softcap;
      attention.out = linear(embedding, config.q_len());
      if (config.has_post_norms) attention.post_norm = norm(embedding);
      layer.mlp.input_norm = norm(embedding);
      if (config.is_gated) layer.mlp.gate = linear(config.ffn_len, embedding);
      layer.mlp.up = linear(config.ffn_len, embedding);
      layer.mlp.down = linear(embedding, config.ffn_len);
      layer.mlp.activation = config.activation;
      if (config.has_post_norms) layer.mlp.post_norm = norm(embedding);
      layers_.push_back(layer);
      shapes.push_back({i, config.num_kv_heads, config.head_dim, config.head_dim, config.kv_dtype,
                        config.kv_dtype});
    }
    head_.norm = norm(embedding);
    head_.out = {
        config.is_tied ? embedding_.tokens : matrix(config.vocab_size, embedding, head_dtype),
        nullptr};
    head_.logit_softcap = config.softcap;
    layout_ = backend.page_layout(shapes, config.page_len);
  }

  const SyntheticConfig& config() const { return config_; }
  Backend& backend() const { return backend_; }
  const EmbeddingWeights& embedding() const { return embedding_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const HeadWeights& head() const { return head_; }
  const PageLayout& layout() const { return layout_; }

  std::vector<float> row(const Matrix* matrix, int64_t index) const {
    return sources_.at(matrix).row(index);
  }
  const std::vector<float>* values(const Vector* vector) const {
    return vector == nullptr ? nullptr : &vector_values_.at(vector);
  }
  uint64_t weight_bytes() const {
    uint64_t bytes = 0;
    for (const auto& matrix : matrices_) bytes += matrix->size_bytes();
    return bytes;
  }

  ExecutorShape executor_shape(int max_rows, int max_sequences) const {
    ExecutorShape shape;
    shape.max_rows = max_rows;
    shape.max_logit_rows = max_rows;
    shape.embedding_len = config_.embedding_len;
    shape.q_len = config_.q_len();
    shape.kv_len = config_.kv_len();
    shape.ffn_len = config_.ffn_len;
    shape.num_heads = config_.num_heads;
    shape.head_dim = config_.head_dim;
    shape.vocab_size = config_.vocab_size;
    shape.max_context = config_.max_context;
    shape.max_sequences = max_sequences;
    return shape;
  }

 private:
  const Matrix* matrix(int64_t rows, int64_t cols) { return matrix(rows, cols, config_.dtype); }
  const Matrix* matrix(int64_t rows, int64_t cols, DType dtype) {
    const bool repeats = config_.distinct_rows > 0 && config_.distinct_rows < rows;
    RandomMatrix source(dtype, repeats ? config_.distinct_rows : rows, cols, random_,
                        config_.is_even);
    matrices_.push_back(backend_.load_matrix(repeats ? repeated(source, rows) : source.source()));
    if (keep_sources_) sources_.emplace(matrices_.back().get(), std::move(source));
    return matrices_.back().get();
  }
  static MatrixSource repeated(const RandomMatrix& distinct, int64_t rows) {
    MatrixSource source = distinct.source();
    source.rows = rows;
    source.read_rows = [read = source.read_rows, &distinct](int64_t first, int64_t n,
                                                            std::span<std::byte> dst) {
      const size_t stored = row_bytes(distinct.dtype(), distinct.cols());
      while (n > 0) {
        const int64_t at = first % distinct.rows(), count = std::min(n, distinct.rows() - at);
        read(at, count, dst.first(stored * static_cast<size_t>(count)));
        dst = dst.subspan(stored * static_cast<size_t>(count));
        first += count;
        n -= count;
      }
    };
    return source;
  }
  const Vector* vector(int64_t len, float mean, float deviation) {
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> values(len);
    for (float& value : values) value = normal(random_);
    vectors_.push_back(backend_.load_vector(values));
    vector_values_.emplace(vectors_.back().get(), std::move(values));
    return vectors_.back().get();
  }
  Linear linear(int64_t rows, int64_t cols) {
    return {matrix(rows, cols), config_.has_biases ? vector(rows, 0, 0.1f) : nullptr};
  }
  Norm norm(int64_t len) {
    return {config_.norm, vector(len, 1, 0.2f),
            config_.norm == NormKind::layer ? vector(len, 0, 0.2f) : nullptr, 1e-5f};
  }

  SyntheticConfig config_;
  std::mt19937_64 random_;
  Backend& backend_;
  bool keep_sources_;
  std::vector<Rope> ropes_;
  EmbeddingWeights embedding_;
  std::vector<Layer> layers_;
  HeadWeights head_;
  PageLayout layout_;
  std::vector<std::unique_ptr<Matrix>> matrices_;
  std::vector<std::unique_ptr<Vector>> vectors_;
  std::map<const Matrix*, RandomMatrix> sources_;
  std::map<const Vector*, std::vector<float>> vector_values_;
};

// Some rows of one sequence in a step.
struct SyntheticChunk {
  int sequence = 0;
  int first_position = 0;
  std::vector<int32_t> token_ids;
};

// Sequences of a model on one executor, with pages of their own. What no step has written is filler, again and
// again: NaN unless something else is given.
class SyntheticRun {
 public:
  SyntheticRun(const SyntheticModel& model, Executor& executor, int num_sequences,
               std::span<const std::byte> filler = {}, int max_context = 0)
      : model_(model), executor_(executor), tables_(num_sequences) {
    if (max_context == 0) max_context = model.config().max_context;
    const int pages_each = (max_context + model.config().page_len - 1) / model.config().page_len;
    // One page more than it needs: nobody's.
    pages_ = model.backend().reserve_pages((uint64_t{1} * num_sequences * pages_each + 1) *
                                           model.layout().page_bytes);
    if (!pages_->commit(0, pages_->size_bytes())) {
      throw Error(Status::OUT_OF_MEMORY, "no memory for the pages of a test");
    }
    const std::vector<std::byte> not_numbers(filler.empty() ? 4096 : 0, std::byte{0xff});
    if (filler.empty()) filler = not_numbers;
    for (uint64_t at = 0; at < pages_->size_bytes(); at += filler.size()) {
      model.backend().write_page(
          pages_->address() + at,
          filler.first(std::min<uint64_t>(filler.size(), pages_->size_bytes() - at)));
    }
    std::vector<PageId> ids(num_sequences * pages_each);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<PageId>(i + 1);
    std::shuffle(ids.begin(), ids.end(), std::mt19937_64(1));
    for (auto& table : tables_) {
      table.assign(ids.end() - pages_each, ids.end());
      ids.resize(ids.size() - pages_each);
    }
  }

  // One step; the logits of every row, [rows, vocab_size].
  std::vector<float> step(const std::vector<SyntheticChunk>& chunks) {
    run_layers(chunks);
    std::vector<int32_t> rows(positions_.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    std::vector<float> logits(rows.size() * model_.config().vocab_size);
    executor_.head(model_.head(), rows, logits.data());
    return logits;
  }

  // Those of some rows of the last step.
  void head(std::span<const int32_t> rows, std::span<float> logits) {
    executor_.head(model_.head(), rows, logits.data());
  }

  void run_layers(const std::vector<SyntheticChunk>& chunks) {
    positions_.clear();
    tokens_.clear();
    sequences_.clear();
    chunk_tables_.clear();
    for (const SyntheticChunk& chunk : chunks) {
      const int num_rows = static_cast<int>(chunk.token_ids.size());
      sequences_.push_back({static_cast<int>(tokens_.size()), num_rows, chunk.first_position});
      tokens_.insert(tokens_.end(), chunk.token_ids.begin(), chunk.token_ids.end());
      for (int i = 0; i < num_rows; ++i) positions_.push_back(chunk.first_position + i);
      chunk_tables_.push_back(tables_[chunk.sequence]);
    }
    executor_.begin_step({static_cast<int>(tokens_.size()), sequences_, positions_});
    executor_.embed(model_.embedding(), tokens_);
    for (int i = 0; i < model_.config().num_layers; ++i) {
      const SyntheticModel::Layer& layer = model_.layers()[i];
      const KvSegment segment = {.layout = &model_.layout(),
                                 .key = &model_.layout().plane(i, PlaneRole::key),
                                 .value = &model_.layout().plane(i, PlaneRole::value),
                                 .pages = pages_->address(),
                                 .tables = chunk_tables_,
                                 .window = model_.config().window_of(i)};
      executor_.qkv_rope_store(layer.attention, segment);
      executor_.attention(layer.attention, {&segment, 1});
      executor_.out_residual(layer.attention);
      executor_.mlp(layer.mlp);
    }
    executor_.end_layers();
  }

  // All KV memory, in 16-bit elements.
  std::vector<uint16_t> kv_memory() const {
    std::vector<uint16_t> memory(pages_->size_bytes() / 2);
    model_.backend().read_page(pages_->address(), std::as_writable_bytes(std::span(memory)));
    return memory;
  }

 private:
  const SyntheticModel& model_;
  Executor& executor_;
  std::unique_ptr<MemoryRange> pages_;
  std::vector<std::vector<PageId>> tables_;
  std::vector<SequenceRows> sequences_;
  std::vector<int32_t> positions_, tokens_;
  std::vector<std::span<const PageId>> chunk_tables_;
};

}  // namespace kvi
