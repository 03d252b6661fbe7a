// What the operating system grants this process of the machine's processors and memory.
#pragma once

#include <cstdint>

namespace kvi {

// min(physical cores, the affinity mask, the cgroup's cpu.max rounded up), at least 1.
int default_num_threads();

// Bytes of memory that the machine (or the cgroup, where smaller) has in all; 0 when unknown.
uint64_t total_memory_bytes();

// Asks the kernel for the AMX tile state (arch_prctl); must come before worker threads start.
// False where CPU or kernel lacks it.
bool request_amx_permission();

// Whether this is an x86 CPU with the SHA extensions and the SSE4.1 that code for them uses.
bool cpu_has_sha() noexcept;

}  // namespace kvi
