#include "tensor/page_conversion.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "support/expect_error.h"
#include "support/seed.h"

namespace kvi {
namespace {

using Bytes = std::vector<std::byte>;

// Uneven on purpose: layers with other head counts, key and value widths and types.
std::vector<KvLayerShape> uneven_layers() {
  return {{0, 3, 64, 64, DType::F16, DType::F16},
          {1, 1, 24, 40, DType::F16, DType::F32},
          {5, 2, 9, 7, DType::F32, DType::BF16}};
}

Bytes random_page(const PageLayout& layout, std::mt19937_64& random) {
  Bytes page(layout.page_bytes);
  for (std::byte& b : page) b = static_cast<std::byte>(random());
  return page;
}

// Element by element, as the comment of Plane says.
void convert_naively(const PageLayout& from, const Bytes& source, const PageLayout& to,
                     Bytes& target, int num_slots) {
  for (size_t i = 0; i < from.planes.size(); ++i) {
    const Plane &a = from.planes[i], &b = to.planes[i];
    for (int head = 0; head < a.num_heads; ++head) {
      for (int slot = 0; slot < num_slots; ++slot) {
        for (int dim = 0; dim < a.dim; ++dim) {
          std::memcpy(
              &target[b.offset + head * b.head_stride + slot * b.slot_stride + dim * b.dim_stride],
              &source[a.offset + head * a.head_stride + slot * a.slot_stride + dim * a.dim_stride],
              row_bytes(a.dtype, 1));
        }
      }
    }
  }
}

TEST(PageConversionTest, MovesEveryElementAndTouchesNothingElse) {
  std::mt19937_64 random(test_seed());
  for (int page_len : {1, 2, 4, 16, 64}) {
    const PageLayout layouts[] = {canonical_layout(uneven_layers(), page_len),
                                  keys_by_dim_layout(uneven_layers(), page_len)};
    for (const PageLayout& from : layouts) {
      for (const PageLayout& to : layouts) {
        if (&from == &to) continue;
        for (int num_slots : {0, 1, page_len / 2, page_len - 1, page_len}) {
          const Bytes source = random_page(from, random);
          Bytes target = random_page(to, random);
          Bytes expected = target;
          convert_naively(from, source, to, expected, num_slots);
          convert_page(from, source, to, target, num_slots);
          ASSERT_EQ(target, expected) << page_len << " slots a page, " << num_slots << " moved";
        }
      }
    }
  }
}

TEST(PageConversionTest, ThereAndBackGivesTheSamePage) {
  std::mt19937_64 random(test_seed());
  const PageLayout canonical = canonical_layout(uneven_layers(), 16);
  const PageLayout by_dim = keys_by_dim_layout(uneven_layers(), 16);
  Bytes original = random_page(canonical, random);
  Bytes page(canonical.page_bytes), between(by_dim.page_bytes);
  convert_page(canonical, original, by_dim, between, 16);
  convert_page(by_dim, between, canonical, page, 16);
  Bytes back(by_dim.page_bytes);
  convert_page(canonical, page, by_dim, back, 16);
  EXPECT_EQ(back, between);
}

TEST(PageConversionTest, EqualLayoutsCopyThePageOrItsFirstSlots) {
  std::mt19937_64 random(test_seed());
  for (const PageLayout& layout :
       {canonical_layout(uneven_layers(), 16), keys_by_dim_layout(uneven_layers(), 16)}) {
    const Bytes source = random_page(layout, random);
    Bytes whole = random_page(layout, random);
    convert_page(layout, source, layout, whole, 16);
    EXPECT_EQ(whole, source);

    Bytes part(layout.page_bytes), expected(layout.page_bytes);
    convert_naively(layout, source, layout, expected, 5);
    convert_page(layout, source, layout, part, 5);
    EXPECT_EQ(part, expected);
  }
}

TEST(PageConversionTest, TheCanonicalFormOfALayoutIsTheCanonicalLayoutOfItsShapes) {
  const PageLayout canonical = canonical_layout(uneven_layers(), 16);
  PageLayout by_dim = keys_by_dim_layout(uneven_layers(), 16);
  by_dim.planes[2].first_head = 3;
  const PageLayout form = canonical_layout(by_dim);
  ASSERT_EQ(form.planes.size(), canonical.planes.size());
  EXPECT_EQ(form.page_bytes, canonical.page_bytes);
  EXPECT_EQ(form.planes[2].first_head, 3);
  for (size_t i = 0; i < form.planes.size(); ++i) {
    EXPECT_EQ(form.planes[i].offset, canonical.planes[i].offset);
    EXPECT_EQ(form.planes[i].slot_stride, canonical.planes[i].slot_stride);
    EXPECT_EQ(form.planes[i].dim_stride, canonical.planes[i].dim_stride);
  }
}

TEST(PageConversionTest, OtherPlanesAreABug) {
  const PageLayout layout = canonical_layout(uneven_layers(), 16);
  const Bytes source(layout.page_bytes);
  Bytes target(layout.page_bytes);
  for (auto change :
       {+[](Plane& plane) { plane.dim += 1; }, +[](Plane& plane) { plane.layer += 1; },
        +[](Plane& plane) { plane.num_heads += 1; }, +[](Plane& plane) { plane.first_head += 1; },
        +[](Plane& plane) { plane.dtype = DType::BF16; },
        +[](Plane& plane) { plane.role = PlaneRole::scale; }}) {
    PageLayout other = layout;
    change(other.planes[1]);
    EXPECT_ERROR(convert_page(layout, source, other, target, 16), INTERNAL, "same_shape");
  }
  EXPECT_ERROR(convert_page(layout, source, canonical_layout(uneven_layers(), 8), target, 8),
               INTERNAL, "page_len");
  EXPECT_ERROR(convert_page(layout, source, layout, target, 17), INTERNAL, "num_slots");
  EXPECT_ERROR(convert_page(layout, std::span(source).first(8), layout, target, 16), INTERNAL,
               "page_bytes");
}

}  // namespace
}  // namespace kvi
