#include "engine/engine_shape.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/os_cpu.h"
#include "base/text.h"

namespace kvi {
namespace {

constexpr int kMinLogitRows = 32;  // scoring takes logits in blocks of at least this many rows

}  // namespace

GroupedLayers group_layers(const ModelConfig& config, const Backend& backend, int page_len) {
  std::map<int, std::vector<KvLayerShape>> by_window;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    by_window[config.layers[layer].window].push_back(config.kv_shape(layer));
  }
  GroupedLayers grouped;
  grouped.group_of_layer.resize(config.num_layers);
  for (const auto& [window, layers] : by_window) {
    for (const KvLayerShape& shape : layers) {
      grouped.group_of_layer[shape.layer] = static_cast<int>(grouped.groups.size());
    }
    grouped.groups.push_back({backend.page_layout(layers, page_len), window});
  }
  return grouped;
}

uint32_t resolved_model_len(const ModelConfig& config, const EngineOptions& options) {
  const uint32_t context_len = static_cast<uint32_t>(config.context_len);
  const uint32_t len = options.max_model_len.value_or(context_len);
  if (config.family->learned_positions && len > context_len) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("max_model_len is ", len, "; this model has learned positions for ",
                       context_len, " tokens only"))
        .amounts(len, context_len);
  }
  return len;
}

ExecutorShape executor_shape(const ModelConfig& config, const EngineOptions& options) {
  ExecutorShape shape;
  shape.max_rows = static_cast<int>(options.max_batch_tokens);
  shape.max_logit_rows = std::max(kMinLogitRows, static_cast<int>(options.max_sequences));
  shape.embedding_len = config.embedding_len;
  shape.q_len = config.num_heads * config.head_dim;
  shape.kv_len = config.num_kv_heads * config.head_dim;
  shape.ffn_len = config.ffn_len;
  shape.num_heads = config.num_heads;
  shape.head_dim = config.head_dim;
  shape.vocab_size = config.vocab_size;
  shape.max_context = static_cast<int>(resolved_model_len(config, options));
  shape.max_sequences = static_cast<int>(options.max_sequences);
  return shape;
}

uint64_t logits_bytes(const ExecutorShape& shape) {
  return sizeof(float) * static_cast<uint64_t>(shape.max_logit_rows) *
         static_cast<uint64_t>(shape.vocab_size);
}

ExecutorOptions executor_options(const EngineOptions& options) {
  return {.num_threads = static_cast<int>(options.num_threads.value_or(default_num_threads())),
          .precision = options.precision};
}

}  // namespace kvi
