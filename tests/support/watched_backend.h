// A backend whose executors tell an observer what they are asked to do, and then do it.
//
// Calls come on the engine's thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace kvi {

struct StepObserver {
  // A layer projects K and V of the batch's rows, and stores them.
  std::function<void(const BatchRows& batch, const KvSegment& kv)> on_project_kv = [](auto&...) {};
  std::function<void(std::span<const int32_t> rows)> on_head = [](auto) {};
  // Tokens that the executor chooses itself, where this is set: from the rows' logits, as they are.
  std::function<TokenId(const TokenChoice&, std::span<const LogitEdit>, std::span<float>)> chooser;
};

class WatchedExecutor final : public Executor {
 public:
  WatchedExecutor(std::unique_ptr<Executor> executor, const StepObserver& observer)
      : executor_(std::move(executor)), observer_(observer) {}

  uint64_t scratch_bytes() const override { return executor_->scratch_bytes(); }
  void begin_step(const BatchRows& batch) override {
    batch_ = batch;
    executor_->begin_step(batch);
  }
  void embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) override {
    executor_->embed(weights, token_ids);
  }
  void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) override {
    observer_.on_project_kv(batch_, kv);
    executor_->qkv_rope_store(weights, kv);
  }
  void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) override {
    executor_->attention(weights, segments);
  }
  void out_residual(const AttentionWeights& weights) override { executor_->out_residual(weights); }
  void mlp(const MlpWeights& weights) override { executor_->mlp(weights); }
  void end_layers() override { executor_->end_layers(); }
  void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) override {
    observer_.on_head(rows);
    executor_->head(weights, rows, logits);
  }
  bool can_choose() const override { return observer_.chooser != nullptr; }
  void choose(const HeadWeights& weights, std::span<const TokenChoice> choices,
              std::span<const LogitEdit> edits, std::span<int32_t> tokens) override {
    std::vector<int32_t> rows;
    for (const TokenChoice& choice : choices) rows.push_back(choice.row);
    const size_t vocab_size = static_cast<size_t>(weights.out.weight->rows());
    std::vector<float> logits(rows.size() * vocab_size);
    executor_->head(weights, rows, logits.data());
    for (size_t i = 0; i < choices.size(); ++i) {
      tokens[i] = observer_.chooser(choices[i],
                                    edits.subspan(choices[i].first_edit, choices[i].num_edits),
                                    std::span(logits).subspan(i * vocab_size, vocab_size));
    }
  }

 private:
  const std::unique_ptr<Executor> executor_;
  const StepObserver& observer_;
  BatchRows batch_;
};

// The observer outlives the backend and may be changed while no step runs.
class WatchedBackend final : public Backend {
 public:
  WatchedBackend(std::unique_ptr<Backend> backend, const StepObserver& observer)
      : backend_(std::move(backend)), observer_(observer) {}

  const BackendInfo& info() const override { return backend_->info(); }
  std::unique_ptr<Matrix> load_matrix(const MatrixSource& source) override {
    return backend_->load_matrix(source);
  }
  std::unique_ptr<Vector> load_vector(std::span<const float> values) override {
    return backend_->load_vector(values);
  }
  uint64_t matrix_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return backend_->matrix_bytes(dtype, rows, cols);
  }
  uint64_t load_scratch_bytes(DType dtype, int64_t rows, int64_t cols) const override {
    return backend_->load_scratch_bytes(dtype, rows, cols);
  }
  PageLayout page_layout(const std::vector<KvLayerShape>& layers, int page_len) const override {
    return backend_->page_layout(layers, page_len);
  }
  std::unique_ptr<MemoryRange> reserve_pages(uint64_t num_bytes) override {
    return backend_->reserve_pages(num_bytes);
  }
  std::unique_ptr<MemoryRange> reserve_host_pages(uint64_t num_bytes) override {
    return backend_->reserve_host_pages(num_bytes);
  }
  void transfer(std::span<const PageTransfer> transfers) override { backend_->transfer(transfers); }
  void zero_page(std::byte* page, uint64_t num_bytes) noexcept override {
    backend_->zero_page(page, num_bytes);
  }
  void copy_page(std::byte* to, const std::byte* from, uint64_t num_bytes) noexcept override {
    backend_->copy_page(to, from, num_bytes);
  }
  void export_page(const PageLayout& layout, const std::byte* page, const PageLayout& canonical,
                   std::span<std::byte> bytes, int num_slots) override {
    backend_->export_page(layout, page, canonical, bytes, num_slots);
  }
  void import_page(const PageLayout& layout, std::byte* page, const PageLayout& canonical,
                   std::span<const std::byte> bytes, int num_slots) override {
    backend_->import_page(layout, page, canonical, bytes, num_slots);
  }
  std::unique_ptr<Executor> make_executor(const ExecutorShape& shape,
                                          const ExecutorOptions& options) override {
    return std::make_unique<WatchedExecutor>(backend_->make_executor(shape, options), observer_);
  }
  uint64_t scratch_bytes(const ExecutorShape& shape,
                         const ExecutorOptions& options) const override {
    return backend_->scratch_bytes(shape, options);
  }

 private:
  const std::unique_ptr<Backend> backend_;
  const StepObserver& observer_;
};

}  // namespace kvi
