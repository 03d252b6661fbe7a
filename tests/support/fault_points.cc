#include "support/fault_points.h"

#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

constexpr int kMostFrames = 40;

std::atomic<bool> armed{false};
kvi::FaultPoint point;
std::atomic<int64_t> num_calls{0}, num_failed{0};
std::atomic<int64_t> num_allocations{0}, num_mappings{0};
void* frames[kMostFrames];
int num_frames = 0;
// Test code is not under test; threads that it did not start are the library's.
thread_local bool is_inside = true;

bool fails(kvi::FaultKind kind) {
  if (!armed.load(std::memory_order_acquire) || !is_inside || point.kind != kind) return false;
  const int64_t nth = num_calls.fetch_add(1) + 1;
  if (point.nth == 0 || nth < point.nth) return false;
  if (nth > point.nth && point.time == kvi::FaultTime::once) return false;
  if (num_failed.fetch_add(1) == 0) num_frames = backtrace(frames, kMostFrames);
  return true;
}

bool file_call_fails() {
  if (!fails(kvi::FaultKind::files)) return false;
  errno = EIO;
  return true;
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void* allocate(size_t size, size_t alignment) noexcept {
  if (fails(kvi::FaultKind::memory)) return nullptr;
  void* memory = alignment <= alignof(max_align_t)
                     ? std::malloc(size == 0 ? 1 : size)
                     : std::aligned_alloc(alignment,
                                          (size + alignment - 1) / alignment * alignment);
  if (memory != nullptr) num_allocations.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

void* allocate_or_throw(size_t size, size_t alignment) {
  void* memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  num_allocations.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

namespace kvi {

void arm_fault(const FaultPoint& wanted) {
  point = wanted;
  num_calls = num_failed = 0;
  num_frames = 0;
  is_inside = false;
  armed = true;
}

int64_t disarm_fault() {
  armed = false;
  return num_calls;
}

int64_t num_faults() { return num_failed; }
void print_fault_stack() { backtrace_symbols_fd(frames, num_frames, STDERR_FILENO); }
int64_t num_live_allocations() { return num_allocations; }
int64_t num_live_mappings() { return num_mappings; }

FaultScope::FaultScope() { is_inside = true; }
FaultScope::~FaultScope() { is_inside = false; }

}  // namespace kvi

void* operator new(size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](size_t size) { return allocate_or_throw(size, 1); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { release(memory); }

// What the library calls by these names arrives here, before the C library.
#pragma GCC visibility push(default)
extern "C" {

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  if (fails(kvi::FaultKind::memory)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  static const auto real = next<decltype(mmap)>("mmap");
  void* memory = real(address, size, protection, flags, fd, offset);
  if (memory != MAP_FAILED) ++num_mappings;
  return memory;
}
int munmap(void* address, size_t size) noexcept {
  static const auto real = next<decltype(munmap)>("munmap");
  const int result = real(address, size);
  if (result == 0) --num_mappings;
  return result;
}
int mprotect(void* address, size_t size, int protection) noexcept {
  if (fails(kvi::FaultKind::memory)) {
    errno = ENOMEM;
    return -1;
  }
  static const auto real = next<decltype(mprotect)>("mprotect");
  return real(address, size, protection);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) noexcept {
  if (fails(kvi::FaultKind::memory)) return EAGAIN;
  static const auto real = next<decltype(pthread_create)>("pthread_create");
  return real(thread, attributes, body, argument);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (file_call_fails()) return -1;
  static const auto real = next<int(const char*, int, ...)>("open");
  return real(path, flags, mode);
}
ssize_t pread(int fd, void* buffer, size_t size, off_t offset) {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(pread)>("pread");
  return real(fd, buffer, size, offset);
}
ssize_t pwrite(int fd, const void* buffer, size_t size, off_t offset) {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(pwrite)>("pwrite");
  return real(fd, buffer, size, offset);
}
int fstat(int fd, struct stat* found) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<int(int, struct stat*)>("fstat");
  return real(fd, found);
}
int stat(const char* path, struct stat* found) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<int(const char*, struct stat*)>("stat");
  return real(path, found);
}
int lstat(const char* path, struct stat* found) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<int(const char*, struct stat*)>("lstat");
  return real(path, found);
}
int ftruncate(int fd, off_t size) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(ftruncate)>("ftruncate");
  return real(fd, size);
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(fallocate)>("fallocate");
  return real(fd, mode, offset, size);
}
int fsync(int) {
  if (file_call_fails()) return -1;
  return 0;  // nothing here outlives the machine
}
int fdatasync(int fd) { return fsync(fd); }
int flock(int fd, int operation) noexcept {
  if (operation != LOCK_UN && file_call_fails()) return -1;
  static const auto real = next<decltype(flock)>("flock");
  return real(fd, operation);
}
int rename(const char* from, const char* to) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(rename)>("rename");
  return real(from, to);
}
int unlink(const char* path) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(unlink)>("unlink");
  return real(path);
}
int mkdir(const char* path, mode_t mode) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<decltype(mkdir)>("mkdir");
  return real(path, mode);
}
DIR* opendir(const char* path) {
  if (file_call_fails()) return nullptr;
  static const auto real = next<decltype(opendir)>("opendir");
  return real(path);
}
struct dirent* readdir(DIR* listing) {
  if (file_call_fails()) return nullptr;
  static const auto real = next<decltype(readdir)>("readdir");
  return real(listing);
}
int statvfs(const char* path, struct statvfs* found) noexcept {
  if (file_call_fails()) return -1;
  static const auto real = next<int(const char*, struct statvfs*)>("statvfs");
  return real(path, found);
}

}  // extern "C"
#pragma GCC visibility pop
