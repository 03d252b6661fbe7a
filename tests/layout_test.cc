#include "tensor/layout.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/expect_error.h"

namespace kvi {
namespace {

// Uneven on purpose: layers with other head counts, key and value widths and types.
std::vector<KvLayerShape> uneven_layers() {
  return {{0, 3, 64, 64, DType::F16, DType::F16},
          {1, 1, 24, 40, DType::F16, DType::F32},
          {5, 2, 9, 7, DType::F32, DType::BF16}};
}

uint64_t element_address(const Plane& plane, int head, int slot, int dim) {
  return plane.offset + static_cast<uint64_t>(head) * plane.head_stride +
         static_cast<uint64_t>(slot) * plane.slot_stride +
         static_cast<uint64_t>(dim) * plane.dim_stride;
}

// Every byte of the page belongs to one element at most, and every element lies inside.
void check_elements_are_disjoint(const PageLayout& page) {
  std::vector<bool> taken(page.page_bytes);
  for (const Plane& plane : page.planes) {
    for (int head = 0; head < plane.num_heads; ++head) {
      for (int slot = 0; slot < page.page_len; ++slot) {
        for (int dim = 0; dim < plane.dim; ++dim) {
          const uint64_t begin = element_address(plane, head, slot, dim);
          for (uint64_t byte = begin; byte < begin + row_bytes(plane.dtype, 1); ++byte) {
            ASSERT_LT(byte, page.page_bytes);
            ASSERT_FALSE(taken[byte]) << "layer " << plane.layer << " byte " << byte;
            taken[byte] = true;
          }
        }
      }
    }
  }
}

TEST(LayoutTest, ElementsNeverShareBytes) {
  for (int page_len : {1, 4, 16, 64}) {
    check_elements_are_disjoint(canonical_layout(uneven_layers(), page_len));
    check_elements_are_disjoint(keys_by_dim_layout(uneven_layers(), page_len));
  }
}

TEST(LayoutTest, PlanesComeInLayerOrderKeysFirst) {
  const PageLayout page = canonical_layout(uneven_layers(), 16);
  ASSERT_EQ(page.planes.size(), 6u);
  for (size_t i = 0; i < page.planes.size(); ++i) {
    EXPECT_EQ(page.planes[i].layer, uneven_layers()[i / 2].layer);
    EXPECT_EQ(page.planes[i].role, i % 2 == 0 ? PlaneRole::key : PlaneRole::value);
    EXPECT_EQ(page.planes[i].offset % 64, 0u);
    EXPECT_TRUE(i == 0 || page.planes[i].offset > page.planes[i - 1].offset);
  }
}

TEST(LayoutTest, KeysByDimPutNeighbouringSlotsSideBySide) {
  const PageLayout page = keys_by_dim_layout(uneven_layers(), 16);
  const Plane& key = page.plane(0, PlaneRole::key);
  EXPECT_EQ(key.slot_stride, 2u);
  EXPECT_EQ(key.dim_stride, 32u);
  const Plane& value = page.plane(0, PlaneRole::value);
  EXPECT_EQ(value.slot_stride, 128u);
  EXPECT_EQ(value.dim_stride, 2u);
}

// 2 * layers * kv_heads * head_dim * 2 bytes a token, where no padding is needed.
TEST(LayoutTest, PageBytesOfRealModelsAreTheFormula) {
  std::vector<KvLayerShape> layers(32, {0, 8, 128, 128, DType::F16, DType::F16});
  for (int i = 0; i < 32; ++i) layers[i].layer = i;
  EXPECT_EQ(canonical_layout(layers, 16).page_bytes, 16u * 131072);  // Llama-3 8B
}

TEST(LayoutTest, AMissingPlaneIsABug) {
  const PageLayout page = canonical_layout(uneven_layers(), 16);
  EXPECT_ERROR(page.plane(2, PlaneRole::key), INTERNAL, "plane");
  EXPECT_ERROR(page.plane(0, PlaneRole::scale), INTERNAL, "plane");
}

}  // namespace
}  // namespace kvi
