// How one page of KV memory is arranged, as data.
//
// A page holds page_len tokens of all layers of one layer group in one contiguous extent. The cache
// and the scheduler see page_bytes only; backends choose planes and strides that suit them.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/dtype.h"

namespace kvi {

using PageId = int32_t;
inline constexpr PageId kNoPage = -1;

enum class PlaneRole : uint8_t { key, value, scale, position, bound, state };
enum class PageKind : uint8_t { per_token, state_at_boundary };

// One tensor inside a page. The element (head, slot, dim) lies at
// offset + (head - first_head) * head_stride + slot * slot_stride + dim * dim_stride bytes from the page's start.
struct Plane {
  int layer = 0;
  PlaneRole role = PlaneRole::key;
  int first_head = 0;
  int num_heads = 0;
  int dim = 0;  // values of one head and token
  DType dtype = DType::F16;
  uint64_t offset = 0;
  uint64_t head_stride = 0;
  uint64_t slot_stride = 0;
  uint64_t dim_stride = 0;
};

struct PageLayout {
  PageKind kind = PageKind::per_token;
  int page_len = 16;  // tokens
  int rank = 0;       // tensor-parallel rank
  uint64_t page_bytes = 0;
  std::vector<Plane> planes;

  // Throws INTERNAL when there is no such plane.
  const Plane& plane(int layer, PlaneRole role) const;
};

// One layer's share of the KV cache, before a backend arranges it.
struct KvLayerShape {
  int layer = 0;
  int num_kv_heads = 0;
  int key_dim = 0;
  int value_dim = 0;
  DType key_dtype = DType::F16;
  DType value_dtype = DType::F16;
};

// Planes in layer order, K before V, each [head][slot][dim]: what snapshots store.
PageLayout canonical_layout(const std::vector<KvLayerShape>& layers, int page_len);
// The same planes in the same order, arranged so.
PageLayout canonical_layout(const PageLayout& layout);

// As canonical, but keys are [head][dim][slot]: one key dimension of neighbouring slots is contiguous,
// so that a vector unit scores a run of keys at once.
PageLayout keys_by_dim_layout(const std::vector<KvLayerShape>& layers, int page_len);

}  // namespace kvi
