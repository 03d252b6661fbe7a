#include "model/forward.h"

namespace kvi {

void forward(const ModelWeights& weights, const KvPlacement& kv, const ForwardBatch& batch,
             Executor& executor) {
  executor.begin_step({batch.num_rows(), batch.sequences, batch.positions});
  executor.embed(weights.embedding(), batch.token_ids);
  for (size_t i = 0; i < weights.layers().size(); ++i) {
    const LayerWeights& layer = weights.layers()[i];
    const KvGroupPages& group = kv.groups[kv.group_of_layer[i]];
    const KvSegment segment = {
        .layout = group.layout,
        .key = &group.layout->plane(static_cast<int>(i), PlaneRole::key),
        .value = &group.layout->plane(static_cast<int>(i), PlaneRole::value),
        .pages = group.pages,
        .tables = batch.tables[kv.group_of_layer[i]],
        .window = group.window,
    };
    executor.qkv_rope_store(layer.attention, segment);
    executor.attention(layer.attention, {&segment, 1});
    executor.out_residual(layer.attention);
    executor.mlp(layer.mlp);
  }
  executor.end_layers();
}

}  // namespace kvi
