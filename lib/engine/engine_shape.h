// The sizes that follow from a model and engine options: layer groups, executor.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "cache/cache_manager.h"
#include "engine/loaded_model.h"
#include "engine/options.h"

namespace kvi {

// Layers of equal window share a group.
struct GroupedLayers {
  std::vector<LayerGroup> groups;
  std::vector<int> group_of_layer;  // [num_layers]
};
GroupedLayers group_layers(const ModelConfig& config, const Backend& backend, int page_len);

uint32_t resolved_model_len(const ModelConfig& config, const EngineOptions& options);
ExecutorShape executor_shape(const ModelConfig& config, const EngineOptions& options);
uint64_t logits_bytes(const ExecutorShape& shape);
ExecutorOptions executor_options(const EngineOptions& options);

}  // namespace kvi
