// What an engine's cache is made of: whose pages can be used for which, and the tiers below the device.
#pragma once

#include <vector>

#include "cache/cache_options.h"
#include "cache/layer_group.h"
#include "engine/loaded_model.h"
#include "engine/options.h"

namespace kvi {

// Throws as kvi_engine_create says. A disk folder that another process owns is left to it, with a warning.
CacheOptions cache_options_for(const LoadedModel& model, const EngineOptions& options,
                               const std::vector<LayerGroup>& groups);

// Names the rounding of what the engine computes: K and V of equal ids and weights are bitwise equal.
std::string numerics_id(const LoadedModel& model, const EngineOptions& options);

// As text, all that the bytes of a page depend on besides weights and arithmetic.
std::string describe_layouts(const ModelConfig& config, const std::vector<LayerGroup>& groups);

}  // namespace kvi
