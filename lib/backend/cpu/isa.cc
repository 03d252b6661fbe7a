#include "backend/cpu/isa.h"

#include "base/os_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace kvi::cpu {
namespace {

struct Features {
  const char* avx2 = "this is not an x86-64 CPU";  // what is missing, "" when nothing is
  const char* avx_vnni = avx2;
  const char* avx512_vnni = avx2;
  const char* amx_int8 = avx2;
};

#if defined(__x86_64__)

bool bit(uint32_t word, int index) { return word >> index & 1; }

// Which register states the kernel saves (XCR0).
uint64_t saved_states() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Bits are those of the Intel SDM, volume 2, CPUID.
Features probe() {
  uint32_t a = 0, b1 = 0, c1 = 0, d1 = 0, b7 = 0, c7 = 0, d7 = 0, a71 = 0, unused = 0;
  Features features;
  features.avx2 = features.avx_vnni = features.avx512_vnni = features.amx_int8 = "";
  __get_cpuid(1, &a, &b1, &c1, &d1);
  uint32_t max_subleaf = 0;
  __get_cpuid_count(7, 0, &max_subleaf, &b7, &c7, &d7);
  if (max_subleaf >= 1) __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
  const uint64_t states = bit(c1, 27) ? saved_states() : 0;

  constexpr uint64_t kAvxStates = 0x6, kAvx512States = 0xe6, kAmxStates = 0x60000;
  if (!bit(c1, 28) || !bit(b7, 5))
    features.avx2 = "no avx2 in CPUID";
  else if (!bit(c1, 12) || !bit(c1, 29))
    features.avx2 = "no fma or f16c in CPUID";
  else if ((states & kAvxStates) != kAvxStates)
    features.avx2 = "the kernel does not save AVX state";
  if (*features.avx2) {
    features.avx_vnni = features.avx512_vnni = features.amx_int8 = features.avx2;
    return features;
  }
  if (!bit(a71, 4)) features.avx_vnni = "no avx_vnni in CPUID";
  if (!bit(b7, 16) || !bit(b7, 17) || !bit(b7, 30) || !bit(b7, 31)) {
    features.avx512_vnni = "no avx512 f, dq, bw and vl in CPUID";
  } else if (!bit(c7, 11)) {
    features.avx512_vnni = "no avx512_vnni in CPUID";
  } else if ((states & kAvx512States) != kAvx512States) {
    features.avx512_vnni = "the kernel does not save AVX-512 state";
  }
  if (*features.avx512_vnni)
    features.amx_int8 = features.avx512_vnni;
  else if (!bit(d7, 24) || !bit(d7, 25))
    features.amx_int8 = "no amx_tile and amx_int8 in CPUID";
  else if ((states & kAmxStates) != kAmxStates)
    features.amx_int8 = "the kernel does not save AMX state";
  else if (!request_amx_permission())
    features.amx_int8 = "the kernel refuses AMX to this process";
  return features;
}

#else

Features probe() { return {}; }

#endif

const char* missing(const Features& features, Isa isa) {
  switch (isa) {
    case Isa::scalar: return "";
    case Isa::avx2: return features.avx2;
    case Isa::avx_vnni: return features.avx_vnni;
    case Isa::avx512_vnni: return features.avx512_vnni;
    case Isa::amx_int8: return features.amx_int8;
  }
  return "unknown";
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx_vnni: return "avx_vnni";
    case Isa::avx512_vnni: return "avx512_vnni";
    case Isa::amx_int8: return "amx_int8";
  }
  return "unknown";
}

const char* why_unsupported(Isa isa) { return missing(probe(), isa); }

std::vector<Isa> supported_isas() {
  const Features features = probe();
  std::vector<Isa> isas;
  for (Isa isa : kAllIsas) {
    if (*missing(features, isa) == '\0') isas.push_back(isa);
  }
  return isas;
}

Isa best_isa() { return supported_isas().back(); }

}  // namespace kvi::cpu
