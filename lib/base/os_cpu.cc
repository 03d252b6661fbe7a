#include "base/os_cpu.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <utility>

namespace kvi {
namespace {

int affinity_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  return std::max(1, CPU_COUNT(&set));
}

// Physical cores among the CPUs of the affinity mask: siblings share a core_id in a package.
int physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return affinity_cpus();
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = -1, core = -1;
    std::ifstream(topology + "physical_package_id") >> package;
    std::ifstream(topology + "core_id") >> core;
    if (package < 0 || core < 0) return affinity_cpus();
    cores.insert({package, core});
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

// This process's folder in the unified (v2) hierarchy, or "" where there is none.
std::string cgroup_folder() {
  std::ifstream lines("/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  }
  return "";
}

// The smallest limit on the way from our cgroup to the root; parse reads one folder's value.
template <typename Parse>
double smallest_cgroup_limit(Parse parse) {
  double limit = std::numeric_limits<double>::infinity();
  std::string folder = cgroup_folder();
  while (folder.size() >= std::strlen("/sys/fs/cgroup")) {
    limit = std::min(limit, parse(folder));
    folder.resize(folder.find_last_of('/'));
  }
  return limit;
}

double cgroup_cpus() {
  return smallest_cgroup_limit([](const std::string& folder) {
    std::string quota;
    double period = 0;
    std::ifstream(folder + "/cpu.max") >> quota >> period;
    if (quota.empty() || quota == "max" || period <= 0) {
      return std::numeric_limits<double>::infinity();
    }
    return std::atof(quota.c_str()) / period;
  });
}

// Bits are those of the Intel SDM, volume 2, CPUID.
bool probe_sha() {
#if defined(__x86_64__)
  constexpr uint32_t kSsse3 = 1u << 9, kSse41 = 1u << 19, kSha = 1u << 29;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kSsse3) == 0 || (c & kSse41) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kSha) != 0;
#else
  return false;
#endif
}

enum : int { kUnprobed, kLacksSha, kHasSha };
constinit std::atomic<int> sha{kUnprobed};

}  // namespace

int default_num_threads() {
  double limit = std::min<double>(physical_cores(), affinity_cpus());
  limit = std::min(limit, std::ceil(cgroup_cpus()));
  return std::max(1, static_cast<int>(limit));
}

uint64_t total_memory_bytes() {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return 0;
  double bytes = static_cast<double>(info.totalram) * info.mem_unit;
  bytes = std::min(bytes, smallest_cgroup_limit([](const std::string& folder) {
                     std::string limit;
                     std::ifstream(folder + "/memory.max") >> limit;
                     return limit.empty() || limit == "max"
                                ? std::numeric_limits<double>::infinity()
                                : std::atof(limit.c_str());
                   }));
  return static_cast<uint64_t>(bytes);
}

// Kept, since a hypervisor may take microseconds over each CPUID. Threads that come here at once find the same.
bool cpu_has_sha() noexcept {
  int found = sha.load(std::memory_order_relaxed);
  if (found == kUnprobed) {
    found = probe_sha() ? kHasSha : kLacksSha;
    sha.store(found, std::memory_order_relaxed);
  }
  return found == kHasSha;
}

bool request_amx_permission() {
#if defined(__x86_64__) && defined(SYS_arch_prctl)
  constexpr int kRequestXcompPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileDataFeature = 18;             // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestXcompPermission, kTileDataFeature) == 0;
#else
  return false;
#endif
}

}  // namespace kvi
