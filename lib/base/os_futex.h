// Sleeping on a 32-bit word (Linux futex, private to the process).
//
// Thread-safe: these are the kernel's own primitives.
#pragma once

#include <atomic>
#include <cstdint>

namespace kvi {

// Sleeps while word == expected; may also return early, so callers test again.
void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected);
void futex_wake_all(const std::atomic<uint32_t>& word);

}  // namespace kvi
