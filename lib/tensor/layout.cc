#include "tensor/layout.h"

#include "base/error.h"

namespace kvi {
namespace {

constexpr uint64_t kPlaneAlignment = 64;  // bytes: a cache line, and a full vector register

enum class KeyOrder { slot_major, dim_major };

void append_plane(PageLayout& page, int layer, PlaneRole role, int num_heads, int dim, DType dtype,
                  KeyOrder order) {
  const uint64_t element = row_bytes(dtype, 1);
  const uint64_t page_len = static_cast<uint64_t>(page.page_len);
  Plane plane;
  plane.layer = layer;
  plane.role = role;
  plane.num_heads = num_heads;
  plane.dim = dim;
  plane.dtype = dtype;
  plane.offset = (page.page_bytes + kPlaneAlignment - 1) / kPlaneAlignment * kPlaneAlignment;
  plane.head_stride = element * static_cast<uint64_t>(dim) * page_len;
  if (order == KeyOrder::dim_major) {
    plane.slot_stride = element;
    plane.dim_stride = element * page_len;
  } else {
    plane.slot_stride = element * static_cast<uint64_t>(dim);
    plane.dim_stride = element;
  }
  page.page_bytes = plane.offset + plane.head_stride * static_cast<uint64_t>(num_heads);
  page.planes.push_back(plane);
}

PageLayout layout_of(const std::vector<KvLayerShape>& layers, int page_len, KeyOrder key_order) {
  PageLayout page;
  page.page_len = page_len;
  for (const KvLayerShape& shape : layers) {
    append_plane(page, shape.layer, PlaneRole::key, shape.num_kv_heads, shape.key_dim,
                 shape.key_dtype, key_order);
    append_plane(page, shape.layer, PlaneRole::value, shape.num_kv_heads, shape.value_dim,
                 shape.value_dtype, KeyOrder::slot_major);
  }
  return page;
}

}  // namespace

const Plane& PageLayout::plane(int layer, PlaneRole role) const {
  for (const Plane& plane : planes) {
    if (plane.layer == layer && plane.role == role) return plane;
  }
  KVI_CHECK(!"the page layout has the plane");
  return planes.front();
}

PageLayout canonical_layout(const std::vector<KvLayerShape>& layers, int page_len) {
  return layout_of(layers, page_len, KeyOrder::slot_major);
}

PageLayout canonical_layout(const PageLayout& layout) {
  PageLayout page = {
      .kind = layout.kind, .page_len = layout.page_len, .rank = layout.rank, .planes = {}};
  for (const Plane& plane : layout.planes) {
    append_plane(page, plane.layer, plane.role, plane.num_heads, plane.dim, plane.dtype,
                 KeyOrder::slot_major);
    page.planes.back().first_head = plane.first_head;
  }
  return page;
}

PageLayout keys_by_dim_layout(const std::vector<KvLayerShape>& layers, int page_len) {
  return layout_of(layers, page_len, KeyOrder::dim_major);
}

}  // namespace kvi
