// A model's weights on a backend, wired into the layers that its family describes.
//
// Loading checks every tensor's presence and shape first, then reads a few rows at a time on several
// threads, so that it needs little memory beyond the final size. The weights are owned: the file may
// change or go afterwards.
//
// Immutable after loading, so thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "format/model_file.h"
#include "model/architecture.h"

namespace kvi {

struct LayerWeights {
  AttentionWeights attention;
  MlpWeights mlp;
};

struct WeightsSize {
  uint64_t weights_bytes = 0;    // as the backend arranges them
  uint64_t load_peak_bytes = 0;  // the most held while loading, weights included
};

// Bytes done and in all; false aborts. Called on the thread that loads.
using LoadProgress = std::function<bool(uint64_t done, uint64_t total)>;

class ModelWeights {
 public:
  // Throws CORRUPT or UNSUPPORTED naming the tensor, OUT_OF_MEMORY, IO, or CANCELLED when progress says so.
  static std::unique_ptr<ModelWeights> load(const ModelFile& file, const ModelConfig& config,
                                            Backend& backend, int num_threads,
                                            const LoadProgress& progress);
  // Checks as load does, reads nothing.
  static WeightsSize measure(const ModelFile& file, const ModelConfig& config,
                             const Backend& backend, int num_threads);

  const EmbeddingWeights& embedding() const { return embedding_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  const HeadWeights& head() const { return head_; }

 private:
  friend class WeightWiring;
  ModelWeights() = default;

  EmbeddingWeights embedding_;
  std::vector<LayerWeights> layers_;
  HeadWeights head_;
  std::vector<Rope> ropes_;  // a copy, so that the weights outlive the config
  std::vector<std::unique_ptr<Matrix>> matrices_;
  std::vector<std::unique_ptr<Vector>> vectors_;
};

}  // namespace kvi
