// Structs that grow: reads and writes those of older and newer callers by their struct_size.
//
// What an older caller's struct lacks reads as its default and is not written. Bytes that this
// library does not know must be zero in options, and are zeroed in results.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"
#include "capi/arguments.h"

namespace kvi::capi {

// A larger size is no newer struct but memory that was never prepared.
constexpr size_t kMaxStructSize = 4096;
constexpr size_t kMaxArrayBytes = size_t{1} << 32;

inline void check_struct_size(size_t size, const char* name) {
  if (size >= sizeof(uint32_t) && size <= kMaxStructSize) return;
  throw Error(Status::INVALID_ARGUMENT, concat(name, " has struct_size ", size,
                                               "; prepare the struct with its _init function"));
}

// A _init function: defaults, and zeros past what this library knows.
template <typename T>
void init_struct(T* out, size_t struct_size, const T& defaults) {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
  require(out, "the struct");
  check_struct_size(struct_size, "the struct");
  T value = defaults;
  value.struct_size = static_cast<uint32_t>(struct_size);
  std::memset(static_cast<void*>(out), 0, struct_size);
  std::memcpy(static_cast<void*>(out), &value, std::min(struct_size, sizeof value));
}

// Reads an options struct without looking at its tail.
template <typename T>
T read_known(const void* in, const T& defaults, const char* name) {
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof size);
  check_struct_size(size, name);
  T value = defaults;
  std::memcpy(static_cast<void*>(&value), in, std::min<size_t>(size, sizeof value));
  return value;
}

template <typename T>
void check_tail(const void* in, const T& value, const char* name) {
  const auto* bytes = static_cast<const unsigned char*>(in);
  for (size_t i = sizeof(T); i < value.struct_size; ++i) {
    if (bytes[i] == 0) continue;
    throw Error(Status::UNSUPPORTED,
                concat(name, " sets an option at byte ", i, " that this version of libkvinfer (",
                       KVI_VERSION_MAJOR, ".", KVI_VERSION_MINOR, ") does not have"));
  }
}

template <typename T>
T read_struct(const void* in, const T& defaults, const char* name) {
  T value = read_known(in, defaults, name);
  check_tail(in, value, name);
  return value;
}

// Reads an array whose elements are items[0].struct_size bytes apart, and visits each.
template <typename T, typename Visit>
void for_each_struct(const T* items, size_t count, const T& defaults, const char* name,
                     const Visit& visit) {
  array_argument(reinterpret_cast<const char*>(items), count, name);
  if (count == 0) return;
  const size_t stride = read_known(items, defaults, name).struct_size;
  if (count > kMaxArrayBytes / stride) {
    throw Error(Status::INVALID_ARGUMENT, concat(name, " cannot have ", count, " elements"));
  }
  const char* bytes = reinterpret_cast<const char*>(items);
  for (size_t i = 0; i < count; ++i) {
    T item = read_struct(bytes + i * stride, defaults, name);
    if (item.struct_size != stride) {
      throw Error(Status::INVALID_ARGUMENT,
                  concat(name, "[", i, "] has struct_size ", item.struct_size, " and ", name,
                         "[0] has ", stride, "; they must be equal"));
    }
    visit(item);
  }
}

// An argument that receives a result; checked before the work begins.
template <typename T>
void require_result(const T* out, const char* name) {
  require(out, name);
  check_struct_size(out->struct_size, name);
}

template <typename T>
void write_struct(T* out, const T& result) {
  const size_t size = out->struct_size;
  T value = result;
  value.struct_size = out->struct_size;
  std::memset(static_cast<void*>(out), 0, size);
  std::memcpy(static_cast<void*>(out), &value, std::min(size, sizeof value));
}

}  // namespace kvi::capi
