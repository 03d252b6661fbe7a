// Moves a page between two layouts of the same planes: a backend's own and the canonical one.
//
// Thread-safe: a pure function.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/layout.h"

namespace kvi {

// Copies the first num_slots slots of every plane; the rest of target keeps its bytes, so that a partial page
// for others to read is zeroed before. (Equal layouts and all slots: padding is copied too.)
// Requires: equal page_len, and planes in the same order with equal layer, role, heads, dim and plain dtype;
// source and target do not overlap. Throws INTERNAL otherwise.
void convert_page(const PageLayout& from, std::span<const std::byte> source, const PageLayout& to,
                  std::span<std::byte> target, int num_slots);

}  // namespace kvi
