#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "model/weight_wiring.h"
#include "tensor/quant.h"

namespace kvi {
namespace {

// Counts what is loaded, and lets the opening thread report it and abort the others.
class Progress {
 public:
  Progress(uint64_t total, const LoadProgress& report) : total_(total), report_(report) {}

  void add(uint64_t num_bytes) {
    const uint64_t done = done_.fetch_add(num_bytes) + num_bytes;
    if (std::this_thread::get_id() == opener_ && report_ && done - reported_ >= total_ / 100) {
      reported_ = done;
      if (!report_(done, total_)) stop();
    }
    if (stopped()) throw Error(Status::CANCELLED, "loading was aborted by the progress callback");
  }
  void stop() { stopped_.store(true); }
  bool stopped() const { return stopped_.load(); }

 private:
  const std::thread::id opener_ = std::this_thread::get_id();
  const uint64_t total_;
  const LoadProgress& report_;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> stopped_{false};
  uint64_t reported_ = 0;  // opener's only
};

std::unique_ptr<Vector> load_vector(const ModelFile& file, const VectorUse& use, Backend& backend) {
  std::vector<std::byte> stored(use.tensor->size_bytes);
  file.read_rows(*use.tensor, 0, 1, stored);
  std::vector<float> values(use.tensor->cols);
  dequantize_row(use.tensor->dtype, stored.data(), values.data(), use.tensor->cols);
  for (float& value : values) value += use.offset;
  return backend.load_vector(std::span(values).subspan(use.first, use.size));
}

std::unique_ptr<Matrix> load_matrix(const ModelFile& file, const MatrixUse& use, Backend& backend,
                                    Progress& progress) {
  MatrixSource source{
      .dtype = use.tensor->dtype, .rows = use.rows, .cols = use.tensor->cols, .read_rows = {}};
  source.read_rows = [&](int64_t first, int64_t n, std::span<std::byte> dst) {
    file.read_rows(*use.tensor, use.first_row + first, n, dst);
    progress.add(dst.size());
  };
  return backend.load_matrix(source);
}

}  // namespace

std::unique_ptr<ModelWeights> ModelWeights::load(const ModelFile& file, const ModelConfig& config,
                                                 Backend& backend, int num_threads,
                                                 const LoadProgress& report) {
  std::unique_ptr<ModelWeights> weights(new ModelWeights);
  const WeightWiring wiring(file, config, *weights);
  for (const VectorUse& use : wiring.vectors()) {
    weights->vectors_.push_back(load_vector(file, use, backend));
    *use.target = weights->vectors_.back().get();
  }

  const std::vector<MatrixUse>& uses = wiring.matrices();
  uint64_t total = 0;
  for (const MatrixUse& use : uses) {
    total += row_bytes(use.tensor->dtype, use.tensor->cols) * static_cast<uint64_t>(use.rows);
  }
  weights->matrices_.resize(uses.size());
  Progress progress(total, report);
  std::atomic<size_t> next{0};
  std::mutex failure_mutex;
  std::exception_ptr failure;
  auto load_some = [&] {
    for (size_t i; !progress.stopped() && (i = next.fetch_add(1)) < uses.size();) {
      try {
        weights->matrices_[i] = load_matrix(file, uses[i], backend, progress);
      } catch (...) {
        std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        progress.stop();
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; ++i) {
    try {
      threads.emplace_back(load_some);
    } catch (const std::system_error&) {
      break;  // fewer threads than asked for: slower, no failure
    }
  }
  load_some();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  if (progress.stopped())
    throw Error(Status::CANCELLED, "loading was aborted by the progress callback");

  for (size_t i = 0; i < uses.size(); ++i) {
    for (const Matrix** target : uses[i].targets) *target = weights->matrices_[i].get();
  }
  if (report && !report(total, total)) {
    throw Error(Status::CANCELLED, "loading was aborted by the progress callback");
  }
  return weights;
}

WeightsSize ModelWeights::measure(const ModelFile& file, const ModelConfig& config,
                                  const Backend& backend, int num_threads) {
  ModelWeights weights;
  const WeightWiring wiring(file, config, weights);
  WeightsSize size;
  std::vector<uint64_t> scratch;
  for (const MatrixUse& use : wiring.matrices()) {
    size.weights_bytes += backend.matrix_bytes(use.tensor->dtype, use.rows, use.tensor->cols);
    scratch.push_back(backend.load_scratch_bytes(use.tensor->dtype, use.rows, use.tensor->cols));
  }
  for (const VectorUse& use : wiring.vectors())
    size.weights_bytes += static_cast<uint64_t>(use.size) * sizeof(float);
  std::sort(scratch.rbegin(), scratch.rend());
  size.load_peak_bytes = size.weights_bytes;
  for (size_t i = 0; i < scratch.size() && i < static_cast<size_t>(num_threads); ++i) {
    size.load_peak_bytes += scratch[i];
  }
  return size;
}

}  // namespace kvi
