#include "kv_shape.h"

#include "cache/sequence_pages.h"

namespace kvi {
namespace {

constexpr uint64_t kElementBytes = 2;  // f16

LayerGroup make_group(const KvShape& shape, int first_layer, int num_layers, int window) {
  std::vector<KvLayerShape> layers;
  for (int layer = first_layer; layer < first_layer + num_layers; ++layer) {
    layers.push_back({.layer = layer,
                      .num_kv_heads = shape.num_kv_heads,
                      .key_dim = shape.head_dim,
                      .value_dim = shape.head_dim});
  }
  return {canonical_layout(layers, shape.page_len), window};
}

}  // namespace

std::vector<LayerGroup> KvShape::groups() const {
  const int num_full = num_layers - num_window_layers;
  std::vector<LayerGroup> groups;
  if (num_full > 0) groups.push_back(make_group(*this, 0, num_full, 0));
  if (num_window_layers > 0) {
    groups.push_back(make_group(*this, num_full, num_window_layers, window));
  }
  return groups;
}

KvShape KvShape::all_global() const {
  KvShape shape = *this;
  shape.num_window_layers = 0;
  return shape;
}

uint64_t KvShape::layer_token_bytes() const {
  return 2 * kElementBytes * static_cast<uint64_t>(num_kv_heads) * static_cast<uint64_t>(head_dim);
}

uint64_t KvShape::token_bytes() const {
  return layer_token_bytes() * static_cast<uint64_t>(num_layers);
}

uint64_t bytes_of_tokens(const std::vector<LayerGroup>& groups, const SequencePages& sequence) {
  uint64_t bytes = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    const PageLayout& layout = groups[g].layout;
    const auto num_tokens = static_cast<uint64_t>(sequence.num_tokens -
                                                  sequence.first_held[g] * layout.page_len);
    // Not by the page: its planes may be padded.
    bytes += layout.planes.empty()
                 ? num_tokens * layout.page_bytes / static_cast<uint64_t>(layout.page_len)
                 : num_tokens * [&] {
                     uint64_t token = 0;
                     for (const Plane& plane : layout.planes)
                       token += kElementBytes * static_cast<uint64_t>(plane.num_heads * plane.dim);
                     return token;
                   }();
  }
  return bytes;
}

}  // namespace kvi
