// The instruction sets that the CPU backend has kernels for, and which of them this machine allows.
//
// Thread-safe: every call probes anew and keeps nothing.
#pragma once

#include <vector>

namespace kvi::cpu {

enum class Isa { scalar, avx2, avx_vnni, avx512_vnni, amx_int8 };

inline constexpr Isa kAllIsas[] = {Isa::scalar, Isa::avx2, Isa::avx_vnni, Isa::avx512_vnni,
                                   Isa::amx_int8};

const char* isa_name(Isa isa);

// Probed by CPUID, XCR0 and, for AMX, the kernel's permission (asked for by any call that finds the
// CPU able; call before any worker thread starts). Best last.
std::vector<Isa> supported_isas();
Isa best_isa();
// Why this machine lacks isa ("no avx512_vnni in CPUID"), or "" when it has it.
const char* why_unsupported(Isa isa);

}  // namespace kvi::cpu
