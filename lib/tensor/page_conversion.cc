#include "tensor/page_conversion.h"

#include <cstring>

#include "base/error.h"

namespace kvi {
namespace {

bool same_shape(const Plane& a, const Plane& b) {
  return a.layer == b.layer && a.role == b.role && a.first_head == b.first_head &&
         a.num_heads == b.num_heads && a.dim == b.dim && a.dtype == b.dtype;
}

bool same_place(const Plane& a, const Plane& b) {
  return a.offset == b.offset && a.head_stride == b.head_stride && a.slot_stride == b.slot_stride &&
         a.dim_stride == b.dim_stride;
}

struct Strides {
  uint64_t slot;  // bytes from one slot to the next
  uint64_t dim;
};

template <typename Element>
void transpose(const std::byte* source, Strides from, std::byte* target, Strides to, int num_slots,
               int num_dims) {
  for (int dim = 0; dim < num_dims; ++dim) {
    for (int slot = 0; slot < num_slots; ++slot) {
      std::memcpy(target + slot * to.slot + dim * to.dim,
                  source + slot * from.slot + dim * from.dim, sizeof(Element));
    }
  }
}

void convert_head(const std::byte* source, Strides from, std::byte* target, Strides to,
                  uint64_t element, int num_slots, int num_dims) {
  if (from.dim == element && to.dim == element) {
    for (int slot = 0; slot < num_slots; ++slot) {
      std::memcpy(target + slot * to.slot, source + slot * from.slot, element * num_dims);
    }
  } else if (from.slot == element && to.slot == element) {
    for (int dim = 0; dim < num_dims; ++dim) {
      std::memcpy(target + dim * to.dim, source + dim * from.dim, element * num_slots);
    }
  } else if (element == 2) {
    transpose<uint16_t>(source, from, target, to, num_slots, num_dims);
  } else {
    KVI_CHECK(element == 4);
    transpose<uint32_t>(source, from, target, to, num_slots, num_dims);
  }
}

}  // namespace

void convert_page(const PageLayout& from, std::span<const std::byte> source, const PageLayout& to,
                  std::span<std::byte> target, int num_slots) {
  KVI_CHECK(from.page_len == to.page_len && from.planes.size() == to.planes.size());
  KVI_CHECK(num_slots >= 0 && num_slots <= from.page_len);
  KVI_CHECK(source.size() >= from.page_bytes && target.size() >= to.page_bytes);
  bool all_in_place = from.page_bytes == to.page_bytes && num_slots == from.page_len;
  for (size_t i = 0; i < from.planes.size(); ++i) {
    KVI_CHECK(same_shape(from.planes[i], to.planes[i]));
    KVI_CHECK(dtype_info(from.planes[i].dtype).block_len == 1);
    all_in_place = all_in_place && same_place(from.planes[i], to.planes[i]);
  }
  if (all_in_place) {
    std::memcpy(target.data(), source.data(), from.page_bytes);
    return;
  }
  for (size_t i = 0; i < from.planes.size(); ++i) {
    const Plane &a = from.planes[i], &b = to.planes[i];
    for (int head = 0; head < a.num_heads; ++head) {
      convert_head(source.data() + a.offset + head * a.head_stride, {a.slot_stride, a.dim_stride},
                   target.data() + b.offset + head * b.head_stride, {b.slot_stride, b.dim_stride},
                   row_bytes(a.dtype, 1), num_slots, a.dim);
    }
  }
}

}  // namespace kvi
