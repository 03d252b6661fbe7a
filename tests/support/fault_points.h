// Lets allocations, or calls to the system about files, fail: the n-th of a run, once or from there on for ever.
//
// An executable that links fault_points.cc replaces operator new, and stands between the library and the system's
// calls about files, memory and threads. Only the library is counted and fails: its own threads always,
// the calling thread inside a FaultScope. Not every linker sees to that where the library is linked statically: link
// the shared one.
//
// Thread-safe, but for arm and disarm: one thread's, while no faults are due.
#pragma once

#include <cstdint>

namespace kvi {

enum class FaultKind : uint8_t {
  memory,  // operator new, malloc by the library itself, mmap, mprotect, pthread_create
  files,   // open, read, write and all else that may fail, with EIO
};
enum class FaultTime : uint8_t { once, for_ever };

struct FaultPoint {
  FaultKind kind = FaultKind::memory;
  int64_t nth = 0;  // from 1; 0: none fails, and all are counted
  FaultTime time = FaultTime::once;
};

void arm_fault(const FaultPoint& point);
int64_t disarm_fault();  // returns how many calls there were that might have failed
int64_t num_faults();    // that came true, since the last arm_fault
// Where the first of them was, as module and offset of each frame, to stderr.
void print_fault_stack();

// What the process has now, to be compared: allocations by operator new, and mappings.
int64_t num_live_allocations();
int64_t num_live_mappings();

// The calling thread is inside the library.
class FaultScope {
 public:
  FaultScope();
  ~FaultScope();
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
};

}  // namespace kvi
