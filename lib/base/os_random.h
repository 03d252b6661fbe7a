// Random bytes of the operating system, fit for secrets.
//
// Thread-safe.
#pragma once

#include <cstddef>
#include <span>

namespace kvi {

bool fill_with_secret_bytes(std::span<std::byte> bytes);  // false: the system gave none

}  // namespace kvi
